package rtnl

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

var broadcast = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// announce tells the network who has the addresses now, so that tables and caches learn it at once: gratuitous ARP (RFC
// 5227 section 3) and unsolicited neighbour advertisements (RFC 4861 section 7.2.6).
func announce(ns *os.File, index int, mac net.HardwareAddr, addresses []netip.Prefix) error {
	if len(addresses) == 0 {
		return nil
	}
	var fd int
	err := netns.Do(ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // protocol 0: it receives nothing
		return err
	})
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	defer unix.Close(fd)
	for _, a := range addresses {
		frame := announcement([6]byte(mac), a.Addr())
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index, Halen: 6}); err != nil {
			return fmt.Errorf("announce %s: %w", a.Addr(), err)
		}
	}
	return nil
}

// announcement returns the frame that tells who has an address.
func announcement(mac [6]byte, a netip.Addr) []byte {
	if a.Is4() {
		return gratuitousARP(mac, a.As4())
	}
	return unsolicitedNA(mac, a.As16())
}

// gratuitousARP is a request for one's own address: more stacks act on that than on a reply.
func gratuitousARP(mac [6]byte, a [4]byte) []byte {
	f := make([]byte, 0, 60)
	f = append(append(f, broadcast[:]...), mac[:]...)
	f = append(f, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1) // Ethernet type; Ethernet, IPv4, lengths, request
	f = append(append(f, mac[:]...), a[:]...)
	f = append(append(f, make([]byte, 6)...), a[:]...)
	return f[:60] // the shortest Ethernet frame; the rest is zero
}

// unsolicitedNA goes to all nodes (ff02::1) with the override flag, as a node does whose address moved.
func unsolicitedNA(mac [6]byte, a [16]byte) []byte {
	allNodes := netip.MustParseAddr("ff02::1").As16()
	const length = 32 // ICMPv6: 24 and one option of 8
	f := make([]byte, 0, 14+40+length)
	f = append(f, 0x33, 0x33, 0, 0, 0, 1) // RFC 2464 section 7
	f = append(append(f, mac[:]...), 0x86, 0xdd)
	f = append(f, 0x60, 0, 0, 0, 0, length, unix.IPPROTO_ICMPV6, 255)
	f = append(append(f, a[:]...), allNodes[:]...)
	icmp := len(f)
	f = append(f, 136, 0, 0, 0, 0x20, 0, 0, 0) // neighbour advertisement, override
	f = append(f, a[:]...)
	f = append(append(f, 2, 1), mac[:]...) // target link-layer address
	binary.BigEndian.PutUint16(f[icmp+2:], checksum6(a, allNodes, f[icmp:]))
	return f
}

// checksum6 is ICMPv6's over its pseudo header (RFC 8200 section 8.1).
func checksum6(src, dst [16]byte, body []byte) uint16 {
	sum := uint32(len(body)) + unix.IPPROTO_ICMPV6
	for _, b := range [][]byte{src[:], dst[:], body} {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
