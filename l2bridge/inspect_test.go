package l2bridge

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/weavewg/weavewg/learner"
)

func arp(op uint16, sender, target string) []gopacket.SerializableLayer {
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: station1[:], DstMAC: learner.Broadcast[:], EthernetType: layers.EthernetTypeARP},
		&layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
			SourceHwAddress: station1[:], SourceProtAddress: netip.MustParseAddr(sender).AsSlice(),
			DstHwAddress: make([]byte, 6), DstProtAddress: netip.MustParseAddr(target).AsSlice(),
		},
	}
}

func nd(src string, message gopacket.SerializableLayer, kind uint8) []gopacket.SerializableLayer {
	ip := &layers.IPv6{
		Version: 6, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6,
		SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr("ff02::1").AsSlice(),
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(kind, 0)}
	_ = icmp.SetNetworkLayerForChecksum(ip)
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: station1[:], DstMAC: []byte{0x33, 0x33, 0, 0, 0, 1}, EthernetType: layers.EthernetTypeIPv6}, ip, icmp, message,
	}
}

func dhcp(kind layers.DHCPMsgType) []gopacket.SerializableLayer {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{255, 255, 255, 255}}
	udp := &layers.UDP{SrcPort: 67, DstPort: 68}
	_ = udp.SetNetworkLayerForChecksum(ip)
	return []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: station2[:], DstMAC: learner.Broadcast[:], EthernetType: layers.EthernetTypeIPv4}, ip, udp,
		&layers.DHCPv4{
			Operation: layers.DHCPOpReply, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, ClientHWAddr: station1[:],
			YourClientIP: []byte{10, 0, 0, 77}, ClientIP: []byte{0, 0, 0, 0}, NextServerIP: []byte{0, 0, 0, 0}, RelayAgentIP: []byte{0, 0, 0, 0},
			Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(kind)})},
		},
	}
}

func TestInspect(t *testing.T) {
	solicit := &layers.ICMPv6NeighborSolicitation{
		TargetAddress: netip.MustParseAddr("fd00::9").AsSlice(),
		Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptSourceAddress, Data: station1[:]}},
	}
	advert := &layers.ICMPv6NeighborAdvertisement{
		TargetAddress: netip.MustParseAddr("fd00::7").AsSlice(),
		Options:       layers.ICMPv6Options{{Type: layers.ICMPv6OptTargetAddress, Data: station1[:]}},
	}
	inspector := NewInspector()
	for _, c := range []struct {
		name string
		l    []gopacket.SerializableLayer
		want string
	}{
		{"ARP request", arp(1, "10.0.0.5", "10.0.0.6"), "02:00:00:00:00:01 10.0.0.5 arp"},
		{"ARP reply", arp(2, "10.0.0.5", "10.0.0.6"), "02:00:00:00:00:01 10.0.0.5 arp"},
		{"ARP probe", arp(1, "0.0.0.0", "10.0.0.6"), ""},
		{"solicitation", nd("fd00::5", solicit, 135), "02:00:00:00:00:01 fd00::5 nd"},
		{"duplicate detection", nd("::", &layers.ICMPv6NeighborSolicitation{TargetAddress: solicit.TargetAddress}, 135), ""},
		{"advertisement", nd("fe80::5", advert, 136), "02:00:00:00:00:01 fd00::7 nd"},
		{"DHCP ack", dhcp(layers.DHCPMsgTypeAck), "02:00:00:00:00:01 10.0.0.77 dhcp"},
		{"DHCP offer", dhcp(layers.DHCPMsgTypeOffer), ""},
	} {
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, c.l...); err != nil {
			t.Fatal(err)
		}
		for _, tag := range []bool{false, true} {
			f := append([]byte{}, b.Bytes()...)
			if tag {
				f = append(append(append([]byte{}, f[:12]...), 0x81, 0, 0, 5), f[12:]...)
			}
			k, why := ParseKey(f)
			if why != Forwarded || !Tells(f, &k) {
				t.Errorf("%s: %s, does not tell", c.name, why)
				continue
			}
			found, ok := inspector.Inspect(f, &k)
			var got []string
			for _, s := range found {
				got = append(got, fmt.Sprintf("%s %s %s", s.MAC, s.IP, s.From))
			}
			if !ok || strings.Join(got, ";") != c.want {
				t.Errorf("%s (tag %v): %q, %v, want %q", c.name, tag, got, ok, c.want)
			}
		}
	}
}

func TestInspectRefusesWhatIsCutOff(t *testing.T) {
	b := gopacket.NewSerializeBuffer()
	inspector := NewInspector()
	for name, l := range map[string][]gopacket.SerializableLayer{
		"ARP": arp(1, "10.0.0.5", "10.0.0.6"),
		"ND":  nd("fd00::5", &layers.ICMPv6NeighborSolicitation{TargetAddress: netip.MustParseAddr("fd00::9").AsSlice()}, 135),
	} {
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
			t.Fatal(err)
		}
		whole := b.Bytes()
		if name == "ARP" {
			whole = whole[:42] // without padding
		}
		for n := EthernetHeader; n < len(whole); n++ {
			k, why := ParseKey(whole[:n])
			if why != Forwarded || !Tells(whole[:n], &k) {
				continue
			}
			if found, ok := inspector.Inspect(whole[:n], &k); ok || len(found) != 0 {
				t.Errorf("%s cut to %d of %d bytes: %v, %v", name, n, len(whole), found, ok)
			}
		}
	}
	// An option of length 0 would never end (RFC 4861, 4.6: such a packet must be discarded).
	solicit := &layers.ICMPv6NeighborSolicitation{TargetAddress: netip.MustParseAddr("fd00::9").AsSlice()}
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		append(nd("fd00::5", solicit, 135), gopacket.Payload{1, 0, 2, 0, 0, 0, 0, 1})...); err != nil {
		t.Fatal(err)
	}
	k, _ := ParseKey(b.Bytes())
	if found, ok := inspector.Inspect(b.Bytes(), &k); ok || len(found) != 0 {
		t.Errorf("option of length 0: %v, %v", found, ok)
	}
}

func TestDescribe(t *testing.T) {
	g := gso{size: 100, payload: make([]byte, 100), tags: 1}
	for want, f := range map[string][]byte{
		"02:00:00:00:00:01 > 02:00:00:00:00:02 vlan 100 IPv4 10.0.0.1 > 10.0.0.2 TCP 1234 > 80, 158 bytes": g.segments(t)[0],
		"02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff ARP 10.0.0.5 asks for 10.0.0.6, 42 bytes":                   serializeAll(t, arp(1, "10.0.0.5", "10.0.0.6"))[:42],
		"02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff ARP 10.0.0.5 announces itself, 42 bytes":                    serializeAll(t, arp(1, "10.0.0.5", "10.0.0.5"))[:42],
		"3 bytes, runt": {1, 2, 3},
		"02:00:00:00:00:02 > 02:00:00:00:00:01 type 0x88b5, 14 bytes": frame(station1, station2, 0x88b5),
	} {
		if got := Describe(f); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func serializeAll(t *testing.T, l []gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	return append([]byte{}, b.Bytes()...)
}

func FuzzInspect(f *testing.F) {
	for _, l := range [][]gopacket.SerializableLayer{
		arp(1, "10.0.0.5", "10.0.0.6"), dhcp(layers.DHCPMsgTypeAck),
		nd("fd00::5", &layers.ICMPv6NeighborSolicitation{TargetAddress: netip.MustParseAddr("fd00::9").AsSlice()}, 135),
	} {
		b := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
			f.Fatal(err)
		}
		f.Add(append([]byte{}, b.Bytes()...))
	}
	inspector := NewInspector()
	f.Fuzz(func(t *testing.T, b []byte) {
		k, why := ParseKey(b)
		if why != Forwarded || !Tells(b, &k) {
			return
		}
		found, ok := inspector.Inspect(b, &k)
		if !ok && len(found) > 0 {
			t.Fatal("cannot be read, and tells all the same")
		}
		for _, s := range found {
			if s.MAC.Group() || s.MAC.IsZero() || !s.IP.IsValid() || s.IP.IsMulticast() || s.IP.IsUnspecified() {
				t.Fatalf("%+v", s)
			}
		}
		_ = Describe(b)
	})
}
