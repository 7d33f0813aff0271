package rawudp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// offChecksum is where a UDP header has its checksum.
const offChecksum = 6

// datagram is one UDP datagram; the payload is in the buffer that it was parsed from.
type datagram struct {
	from, to netip.AddrPort
	payload  []byte
}

// parse4 finds the UDP datagram in an IPv4 packet, options or none.
func parse4(b []byte) (datagram, bool) {
	if len(b) < 20 || b[0]>>4 != 4 || b[9] != unix.IPPROTO_UDP {
		return datagram{}, false
	}
	header := int(b[0]&0xf) * 4
	if header < 20 || header > len(b) {
		return datagram{}, false
	}
	return parseUDP(b[header:], netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])))
}

// parseUDP finds the datagram in what follows the IP header. It does not look at the checksum: over a veth and from a
// local sender it is not computed yet (CHECKSUM_PARTIAL of linux/include/linux/skbuff.h), and raw sockets are not told;
// whoever reads the payload has to authenticate it anyway.
func parseUDP(b []byte, from, to netip.Addr) (datagram, bool) {
	if len(b) < headerSize {
		return datagram{}, false
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length < headerSize || length > len(b) {
		return datagram{}, false
	}
	return datagram{
		from: netip.AddrPortFrom(from, binary.BigEndian.Uint16(b)), to: netip.AddrPortFrom(to, binary.BigEndian.Uint16(b[2:])),
		payload: b[headerSize:length],
	}, true
}

// udpHeader is the header of a datagram, still without a checksum.
func udpHeader(from, to uint16, payload int) (h [headerSize]byte) {
	binary.BigEndian.PutUint16(h[0:], from)
	binary.BigEndian.PutUint16(h[2:], to)
	binary.BigEndian.PutUint16(h[4:], uint16(headerSize+payload))
	return h
}

// putChecksum completes the header of a datagram over IPv4 (RFC 768): the sum covers a pseudo header of both addresses,
// the protocol and the length too.
func putChecksum(h *[headerSize]byte, from, to netip.Addr, payload []byte) {
	a, b := from.As4(), to.As4()
	total := add(0, a[:])
	total = add(total, b[:])
	total += unix.IPPROTO_UDP + uint64(binary.BigEndian.Uint16(h[4:]))
	total = add(total, h[:offChecksum])
	total = add(total, payload)
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	result := ^uint16(total)
	if result == 0 { // which would mean: no checksum
		result = 0xffff
	}
	binary.BigEndian.PutUint16(h[offChecksum:], result)
}

// add adds b to a ones' complement total, as 16-bit numbers in network order.
func add(total uint64, b []byte) uint64 {
	for ; len(b) >= 2; b = b[2:] {
		total += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		total += uint64(b[0]) << 8
	}
	return total
}

// zoneIndex reads the zone of an address: the index of an interface. Names belong to the namespace of whoever has them.
func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	index, err := strconv.ParseUint(zone, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("zone %q: want the index of an interface", zone)
	}
	return uint32(index), nil
}
