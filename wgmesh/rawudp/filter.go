package rawudp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// filter4 lets through UDP datagrams to ports first to last that begin with magic. An IPv4 raw socket's packets begin
// with the IP header, whose length varies.
func filter4(first, last uint16, magic [4]byte) []unix.SockFilter {
	length := unix.SockFilter{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0} // x = 4 × (byte 0 & 15)
	return append([]unix.SockFilter{length}, filter(unix.BPF_IND, first, last, magic)...)
}

// filter6 is filter4 for an IPv6 raw socket, whose packets begin with the UDP header.
func filter6(first, last uint16, magic [4]byte) []unix.SockFilter {
	return filter(unix.BPF_ABS, first, last, magic)
}

// filter reads in the given mode relative to the UDP header. A load beyond the packet's end drops it.
func filter(mode uint16, first, last uint16, magic [4]byte) []unix.SockFilter {
	const jump = unix.BPF_JMP | unix.BPF_K
	return []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | mode, K: 2},
		{Code: jump | unix.BPF_JGE, K: uint32(first), Jf: 4},
		{Code: jump | unix.BPF_JGT, K: uint32(last), Jt: 3},
		{Code: unix.BPF_LD | unix.BPF_W | mode, K: headerSize},
		{Code: jump | unix.BPF_JEQ, K: binary.BigEndian.Uint32(magic[:]), Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 18}, // all of it
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
}
