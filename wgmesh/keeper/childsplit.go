package keeper

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// A guess outside of these is not worth its pieces, or would not leave enough of them.
const (
	minGuess = 1 << 10
	maxGuess = 1 << 14
)

// tunReader reads from the TUN what the kernel left uncut, and cuts it. Datagrams of the datapath, which come 60 kB at a
// time, are read right to where their segments belong: behind the headers come as many bytes for each as they had the last time.
type tunReader struct {
	head  [vnetHeader + udp6Headers]byte
	guess int    // length of segments that the last UDP packet had
	flat  []byte // a packet that was laid out otherwise, and room for what is longer than all segments
	iovs  []unix.Iovec
	n     int
	errno syscall.Errno
	call  func(fd uintptr) bool
}

func newTUNReader() *tunReader {
	r := &tunReader{guess: minGuess, flat: make([]byte, vnetHeader+longest)}
	r.call = r.readv
	return r
}

// readv makes a raw system call, as all here that never wait: the scheduler's bookkeeping for those that may (it looks
// after them every 20 µs, and takes the processor away) costs more than it brings.
func (r *tunReader) readv(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&r.iovs[0])), uintptr(len(r.iovs)))
		if errno == unix.EINTR {
			continue
		}
		r.n, r.errno = int(n), errno
		return errno != unix.EAGAIN
	}
}

// prepare lays out the memory for one packet.
func (r *tunReader) prepare(bufs [][]byte, offset int) (pieces int) {
	r.iovs = append(r.iovs[:0], iovec(r.head[:]))
	pieces = min(len(bufs), longest/r.guess+1)
	for _, b := range bufs[:pieces] {
		r.iovs = append(r.iovs, iovec(b[offset+udp6Headers:][:r.guess]))
	}
	r.iovs = append(r.iovs, iovec(r.flat))
	return pieces
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: unsafe.SliceData(b)}
	v.SetLen(len(b))
	return v
}

// read reads one packet and cuts it into bufs, behind offset bytes each. A packet whose headers are not what the TUN says
// is dropped: an error would end the device.
func (r *tunReader) read(conn syscall.RawConn, bufs [][]byte, sizes []int, offset int) (int, error) {
	pieces := r.prepare(bufs, offset)
	if err := conn.Read(r.call); err != nil || errors.Is(r.errno, unix.EBADFD) {
		return 0, os.ErrClosed
	}
	if r.errno != 0 {
		return 0, r.errno
	}
	length := r.n - vnetHeader
	if length <= 0 || length > longest {
		return 0, nil
	}
	v := parseVnet(r.head[:])
	headers, payload := r.head[vnetHeader:], length-udp6Headers
	switch {
	case v.kind == unix.VIRTIO_NET_HDR_GSO_NONE:
		return r.whole(&v, bufs[:pieces], sizes, offset, length), nil
	case v.kind == unix.VIRTIO_NET_HDR_GSO_UDP_L4 && int(v.size) == r.guess && payload > 0 && payload <= pieces*r.guess &&
		headers[0]>>4 == 6 && v.start == ip6Header && v.offset == udpChecksum:
		return r.inPlace(bufs, sizes, offset, payload), nil
	}
	packet := r.flatten(bufs[:pieces], offset, length)
	if v.kind == unix.VIRTIO_NET_HDR_GSO_UDP_L4 && v.size >= minGuess && v.size <= maxGuess {
		r.guess = int(v.size)
	}
	return split(packet, &v, bufs, sizes, offset)
}

// whole puts a packet into the first buffer that is not to be cut.
func (r *tunReader) whole(v *vnet, bufs [][]byte, sizes []int, offset, length int) int {
	if length > len(bufs[0])-offset {
		return 0
	}
	packet := bufs[0][offset:][:length]
	if length <= udp6Headers+r.guess {
		copy(packet, r.head[vnetHeader:]) // the rest is there
	} else {
		copy(packet, r.flatten(bufs, offset, length))
	}
	if !v.complete(packet) {
		return 0
	}
	sizes[0] = length
	return 1
}

// inPlace puts headers before payload that is where it belongs.
func (r *tunReader) inPlace(bufs [][]byte, sizes []int, offset, payload int) (n int) {
	headers := r.head[vnetHeader:]
	headers[ip6Header+udpChecksum], headers[ip6Header+udpChecksum+1] = 0, 0
	for ; payload > 0; payload -= r.guess {
		size := min(payload, r.guess)
		packet := bufs[n][offset:]
		copy(packet, headers)
		binary.BigEndian.PutUint16(packet[ip6Length:], uint16(udpHeader+size))
		t := packet[ip6Header:][:udpHeader+size]
		binary.BigEndian.PutUint16(t[udpLength:], uint16(len(t)))
		putChecksum(t[udpChecksum:], sum(t, pseudo(packet, unix.IPPROTO_UDP, len(t))), true)
		sizes[n] = udp6Headers + size
		n++
	}
	return n
}

// flatten returns the packet in one piece.
func (r *tunReader) flatten(bufs [][]byte, offset, length int) []byte {
	spilled := max(0, length-udp6Headers-len(bufs)*r.guess)
	copy(r.flat[length-spilled:], r.flat[:spilled]) // what was longer
	at := copy(r.flat[:length], r.head[vnetHeader:])
	for _, b := range bufs {
		if at >= length-spilled {
			break
		}
		at += copy(r.flat[at:length-spilled], b[offset+udp6Headers:][:r.guess])
	}
	return r.flat[:length]
}

// complete does the checksum that was left to us, and reports whether it fits the packet.
func (v *vnet) complete(packet []byte) bool {
	if !v.needsChecksum {
		return true
	}
	start, at := int(v.start), int(v.start)+int(v.offset)
	if at+2 > len(packet) {
		return false
	}
	putChecksum(packet[at:], sum(packet[start:], 0), v.offset == udpChecksum)
	return true
}

// putChecksum writes the checksum for a sum. In UDP zero means that there is none, and 0xffff is written instead.
func putChecksum(b []byte, acc uint64, udp bool) {
	c := ^fold(acc)
	if c == 0 && udp {
		c = 0xffff
	}
	binary.NativeEndian.PutUint16(b, c)
}

// split cuts a packet as the kernel would have (net/ipv4/tcp_offload.c, udp_offload.c), into nothing when its headers are
// not what v says.
func split(packet []byte, v *vnet, bufs [][]byte, sizes []int, offset int) (n int, err error) {
	start, size := int(v.start), int(v.size)
	v4, udp := packet[0]>>4 == 4, v.kind == unix.VIRTIO_NET_HDR_GSO_UDP_L4
	tcp := v.kind &^ unix.VIRTIO_NET_HDR_GSO_ECN
	protocol, at, end := byte(unix.IPPROTO_TCP), 16, start+udpHeader
	switch {
	case udp:
		protocol, at = unix.IPPROTO_UDP, udpChecksum
	case v4 && tcp != unix.VIRTIO_NET_HDR_GSO_TCPV4, !v4 && tcp != unix.VIRTIO_NET_HDR_GSO_TCPV6, len(packet) < start+tcpHeader:
		return 0, nil
	default:
		end = start + int(packet[start+tcpLength]>>4)*4
	}
	if size == 0 || v4 && start < 20 || !v4 && start < ip6Header || end < start+udpHeader || end >= len(packet) || int(v.offset) != at {
		return 0, nil
	}
	for from := end; from < len(packet); from += size {
		if n == len(bufs) {
			return n, tun.ErrTooManySegments
		}
		part := packet[from:min(from+size, len(packet))]
		out := bufs[n][offset:]
		if end+len(part) > len(out) {
			return 0, nil
		}
		out = out[:end+len(part)]
		copy(out, packet[:end])
		copy(out[end:], part)
		if v4 {
			binary.BigEndian.PutUint16(out[ip4Length:], uint16(len(out)))
			binary.BigEndian.PutUint16(out[ip4ID:], binary.BigEndian.Uint16(packet[ip4ID:])+uint16(n))
			out[ip4Checksum], out[ip4Checksum+1] = 0, 0
			binary.NativeEndian.PutUint16(out[ip4Checksum:], ^fold(sum(out[:start], 0)))
		} else {
			binary.BigEndian.PutUint16(out[ip6Length:], uint16(len(out)-ip6Header))
		}
		t := out[start:]
		if udp {
			binary.BigEndian.PutUint16(t[udpLength:], uint16(len(t)))
		} else {
			binary.BigEndian.PutUint32(t[tcpSeq:], binary.BigEndian.Uint32(t[tcpSeq:])+uint32(n*size))
			if n > 0 {
				t[tcpFlags] &^= tcpCWR
			}
			if from+size < len(packet) {
				t[tcpFlags] &^= tcpFIN | tcpPSH
			}
		}
		t[at], t[at+1] = 0, 0
		putChecksum(t[at:], sum(t, pseudo(out, protocol, len(t))), udp)
		sizes[n] = len(out)
		n++
	}
	return n, nil
}
