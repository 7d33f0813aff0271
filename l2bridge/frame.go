package l2bridge

import (
	"encoding/binary"

	"github.com/weavewg/weavewg/learner"
)

// Sizes and types of Ethernet (IEEE 802.3, 802.1Q).
const (
	EthernetHeader = 14
	VLANTag        = 4
	MaxVLANTags    = 2

	EtherTypeIPv4 = 0x0800
	EtherTypeARP  = 0x0806
	EtherTypeIPv6 = 0x86dd
	EtherTypeVLAN = 0x8100 // C-tag
	EtherTypeQinQ = 0x88a8 // S-tag
)

// Frame is one captured frame: its bytes from the destination address on, without the checksum sequence, and what its
// sender left for the hardware to do.
type Frame struct {
	Data    []byte
	Offload Offload
}

// Key is what a switch must know of a frame.
type Key struct {
	Dst, Src  learner.MAC
	EtherType uint16 // behind the tags
	Tags      int    // VLAN tags in front of EtherType
	VLAN      uint16 // id in the outermost tag; 0 without one, or with a priority tag
}

// Header returns the length of the Ethernet header, tags included.
func (k *Key) Header() int { return EthernetHeader + k.Tags*VLANTag }

// ParseKey reads the Ethernet header of a frame and says why it is not fit to be switched, if so. What comes behind
// the header is not judged: a switch carries it byte for byte, whatever it claims to be.
func ParseKey(frame []byte) (Key, Why) {
	var k Key
	if len(frame) < EthernetHeader {
		return k, Runt
	}
	k.Dst, k.Src = learner.MAC(frame[:6]), learner.MAC(frame[6:12])
	k.EtherType = binary.BigEndian.Uint16(frame[12:])
	for at := EthernetHeader; k.EtherType == EtherTypeVLAN || k.EtherType == EtherTypeQinQ; at += VLANTag {
		if k.Tags == MaxVLANTags {
			return k, TooManyTags
		}
		if len(frame) < at+VLANTag {
			return k, Runt
		}
		id := binary.BigEndian.Uint16(frame[at:]) & 0x0fff
		if id == 0x0fff {
			return k, BadVLAN
		}
		if k.Tags == 0 {
			k.VLAN = id
		}
		k.Tags++
		k.EtherType = binary.BigEndian.Uint16(frame[at+2:])
	}
	switch {
	case k.Src.Group() || k.Src.IsZero():
		return k, BadSource
	case reserved(k.Dst):
		return k, ReservedGroup
	}
	return k, Forwarded
}

// reserved says whether a bridge must keep frames to dst on their own link: spanning tree, LACP, LLDP and the like.
func reserved(dst learner.MAC) bool {
	return dst[0] == 0x01 && dst[1] == 0x80 && dst[2] == 0xc2 && dst[3] == 0 && dst[4] == 0 && dst[5]&0xf0 == 0
}
