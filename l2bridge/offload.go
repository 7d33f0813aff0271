package l2bridge

import "encoding/binary"

// Segmentation names what hardware would cut a frame into; the zero value means that the frame is whole.
type Segmentation uint8

// The kinds that frames here can have.
const (
	Whole Segmentation = iota
	TCPv4
	TCPv6
)

// Offload is the work that a frame's sender left for the hardware, as virtio describes it (virtio 1.2, 5.1.6).
// The zero value: none.
type Offload struct {
	Kind Segmentation
	ECN  bool   // the TCP header carries CWR, which only the first segment keeps
	Size uint16 // payload bytes of each segment but the last
	// NeedsChecksum: the 16 bits at Start+Offset hold the sum of the pseudo header; the sum over everything from Start
	// on belongs there.
	NeedsChecksum bool
	Start, Offset uint16
	HeaderLen     uint16 // bytes of all headers: a hint for the kernel
}

// Offsets of a TCP header (RFC 9293).
const (
	tcpSeq      = 4
	tcpAck      = 8
	tcpLen      = 12
	tcpFlags    = 13
	tcpWindow   = 14
	tcpChecksum = 16
	tcpMin      = 20

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagPSH = 0x08
	flagACK = 0x10
	flagURG = 0x20
	flagCWR = 0x80
)

// Offsets of the IP headers (RFC 791, RFC 8200).
const (
	ip4Length   = 2
	ip4ID       = 4
	ip4Fragment = 6
	ip4Protocol = 9
	ip4Checksum = 10
	ip4Src      = 12
	ip4Min      = 20
	ip6Length   = 4
	ip6Next     = 6
	ip6Src      = 8
	ip6Min      = 40

	protocolTCP = 6
)

// CompleteChecksum does a whole frame's pending checksum in place and reports whether the metadata fitted the frame.
// As in the kernel (net/core/dev.c, skb_checksum_help), a sum of zero is written as ffff: for UDP zero means "none".
func CompleteChecksum(f *Frame) bool {
	if !f.Offload.NeedsChecksum {
		return true
	}
	start, at := int(f.Offload.Start), int(f.Offload.Start)+int(f.Offload.Offset)
	if at+2 > len(f.Data) {
		return false
	}
	c := finish(sum(f.Data[start:], 0))
	if c == 0 {
		c = 0xffff
	}
	binary.NativeEndian.PutUint16(f.Data[at:], c)
	f.Offload = Offload{}
	return true
}
