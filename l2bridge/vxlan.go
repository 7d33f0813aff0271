package l2bridge

import "encoding/binary"

// VXLAN on the wire (RFC 7348).
const (
	VXLANPort   = 4789 // UDP, section 5
	VXLANHeader = 8    // bytes

	// Overhead is what VXLAN over IPv6 adds to the payload of a frame: Ethernet, VXLAN, UDP and IPv6 headers. A network's
	// MTU is at most the tunnel's less this.
	Overhead = EthernetHeader + VXLANHeader + 8 + 40

	vxlanValidVNI = 0x08 // the I flag
)

// PutVXLAN writes the header of a network into the first 8 bytes of b.
func PutVXLAN(b []byte, vni uint32) {
	binary.BigEndian.PutUint32(b, vxlanValidVNI<<24)
	binary.BigEndian.PutUint32(b[4:], vni<<8)
}

// ParseVXLAN returns the network number and the frame inside, or why the packet is not ours. RFC 7348 tells receivers
// to ignore reserved bits; we refuse them, because extensions that use them (GPE, group policy, remote checksum) change
// what comes behind the header, and no weavewg sends them.
func ParseVXLAN(packet []byte) (vni uint32, frame []byte, why Why) {
	if len(packet) < VXLANHeader {
		return 0, nil, VXLANShort
	}
	if packet[0] != vxlanValidVNI {
		return 0, nil, VXLANFlags
	}
	if packet[1]|packet[2]|packet[3]|packet[7] != 0 {
		return 0, nil, VXLANReserved
	}
	return binary.BigEndian.Uint32(packet[4:]) >> 8, packet[VXLANHeader:], Forwarded
}
