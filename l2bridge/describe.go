package l2bridge

import (
	"fmt"
	"strings"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Describe says in one line what a frame is, for people: addresses, tags, what it carries, length. It is not for the
// fast path, and never fails: what cannot be read is named by its type.
func Describe(frame []byte) string {
	k, why := ParseKey(frame)
	if len(frame) < EthernetHeader {
		return fmt.Sprintf("%d bytes, %s", len(frame), why)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s > %s", k.Src, k.Dst)
	if k.Tags > 0 {
		fmt.Fprintf(&b, " vlan %d", k.VLAN)
	}
	packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})
	named := false
	for _, l := range packet.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet, *layers.Dot1Q:
			continue
		case *layers.ARP:
			fmt.Fprintf(&b, " ARP %s", describeARP(l))
		case *layers.IPv4:
			fmt.Fprintf(&b, " IPv4 %s > %s", l.SrcIP, l.DstIP)
		case *layers.IPv6:
			fmt.Fprintf(&b, " IPv6 %s > %s", l.SrcIP, l.DstIP)
		case *layers.TCP:
			fmt.Fprintf(&b, " TCP %d > %d", l.SrcPort, l.DstPort)
		case *layers.UDP:
			fmt.Fprintf(&b, " UDP %d > %d", l.SrcPort, l.DstPort)
		case *layers.ICMPv4:
			fmt.Fprintf(&b, " ICMP %s", l.TypeCode)
		case *layers.ICMPv6:
			fmt.Fprintf(&b, " ICMPv6 %s", l.TypeCode)
		default:
			if l.LayerType() == gopacket.LayerTypePayload || l.LayerType() == gopacket.LayerTypeDecodeFailure {
				continue
			}
			fmt.Fprintf(&b, " %s", l.LayerType())
		}
		named = true
	}
	if !named {
		fmt.Fprintf(&b, " type %#04x", k.EtherType)
	}
	fmt.Fprintf(&b, ", %d bytes", len(frame))
	return b.String()
}

func describeARP(a *layers.ARP) string {
	if len(a.SourceProtAddress) != 4 || len(a.DstProtAddress) != 4 {
		return "of another protocol"
	}
	ip := func(b []byte) string { return fmt.Sprintf("%d.%d.%d.%d", b[0], b[1], b[2], b[3]) }
	switch {
	case a.Operation == layers.ARPReply:
		return ip(a.SourceProtAddress) + " is here"
	case ip(a.SourceProtAddress) == ip(a.DstProtAddress):
		return ip(a.SourceProtAddress) + " announces itself"
	}
	return ip(a.SourceProtAddress) + " asks for " + ip(a.DstProtAddress)
}
