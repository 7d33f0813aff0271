package keeper

import (
	"encoding/binary"
	"math/bits"

	"golang.org/x/sys/unix"
)

// What a TUN with IFF_VNET_HDR puts in front of every packet: struct virtio_net_hdr (include/uapi/linux/virtio_net.h), in
// the machine's byte order: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
const vnetHeader = 10

// Offsets of the headers (RFC 791, 8200, 768, 9293).
const (
	ip4Length   = 2
	ip4ID       = 4
	ip4Checksum = 10
	ip4Src      = 12
	ip6Length   = 4
	ip6Next     = 6
	ip6Src      = 8
	ip6Header   = 40

	udpLength   = 4
	udpChecksum = 6
	udpHeader   = 8
	tcpSeq      = 4
	tcpLength   = 12
	tcpFlags    = 13
	tcpHeader   = 20

	tcpFIN = 0x01
	tcpPSH = 0x08
	tcpCWR = 0x80

	// udp6Headers is how every packet of the datapath begins.
	udp6Headers = ip6Header + udpHeader
	// longest is the length of the longest packet.
	longest = 65535
)

// vnet is such a header.
type vnet struct {
	needsChecksum bool // the 16 bits at start+offset hold the pseudo header's sum, the rest from start on is to be added
	kind          byte // VIRTIO_NET_HDR_GSO_…
	headers       uint16
	size          uint16 // of each segment's payload but the last
	start, offset uint16
}

func parseVnet(b []byte) vnet {
	n := binary.NativeEndian
	return vnet{
		needsChecksum: b[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0, kind: b[1],
		headers: n.Uint16(b[2:]), size: n.Uint16(b[4:]), start: n.Uint16(b[6:]), offset: n.Uint16(b[8:]),
	}
}

func (v *vnet) put(b []byte) {
	clear(b[:vnetHeader])
	if !v.needsChecksum {
		return
	}
	n := binary.NativeEndian
	b[0], b[1] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, v.kind
	n.PutUint16(b[2:], v.headers)
	n.PutUint16(b[4:], v.size)
	n.PutUint16(b[6:], v.start)
	n.PutUint16(b[8:], v.offset)
}

// sum adds bytes to a sum in one's complement and in the machine's byte order (RFC 1071). Pieces other than the last must
// have an even length.
func sum(b []byte, acc uint64) uint64 {
	var c uint64
	for ; len(b) >= 64; b = b[64:] {
		p := (*[64]byte)(b)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[0:]), 0)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[8:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[16:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[24:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[32:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[40:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[48:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[56:]), c)
		acc += c
	}
	for ; len(b) >= 8; b = b[8:] {
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b), 0)
		acc += c
	}
	var tail [8]byte
	copy(tail[:], b)
	acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(tail[:]), 0)
	return acc + c
}

// fold reduces a sum to 16 bits.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc)
}

// pseudo sums the pseudo header of a packet with addresses like these for a protocol and a length behind the IP header.
func pseudo(packet []byte, protocol byte, length int) uint64 {
	at, size := ip6Src, 32
	if packet[0]>>4 == 4 {
		at, size = ip4Src, 8
	}
	var rest [4]byte
	rest[1] = protocol
	binary.BigEndian.PutUint16(rest[2:], uint16(length))
	return sum(rest[:], sum(packet[at:at+size], 0))
}
