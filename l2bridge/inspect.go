package l2bridge

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/weavewg/weavewg/learner"
)

// Sighting is a pair of addresses that a frame tells.
type Sighting struct {
	MAC  learner.MAC
	IP   netip.Addr
	From learner.Source
}

const (
	protocolUDP    = 17
	protocolICMPv6 = 58
	dhcpServer     = 67
	dhcpClient     = 68
)

// Tells says whether a frame may tell pairs of addresses, so that it is worth an Inspect: ARP, neighbour
// solicitations and advertisements, DHCP. It reads a few bytes at fixed places; others than the plain forms do not count.
func Tells(frame []byte, k *Key) bool {
	b := frame[k.Header():]
	switch k.EtherType {
	case EtherTypeARP:
		return true
	case EtherTypeIPv6:
		return len(b) > ip6Min && b[ip6Next] == protocolICMPv6 &&
			(b[ip6Min] == layers.ICMPv6TypeNeighborSolicitation || b[ip6Min] == layers.ICMPv6TypeNeighborAdvertisement)
	case EtherTypeIPv4:
		if len(b) < ip4Min+8 || b[0] != 0x45 || b[ip4Protocol] != protocolUDP || binary.BigEndian.Uint16(b[ip4Fragment:])&0x3fff != 0 {
			return false
		}
		src := binary.BigEndian.Uint16(b[ip4Min:])
		return src == dhcpServer && binary.BigEndian.Uint16(b[ip4Min+2:]) == dhcpClient
	}
	return false
}

// Inspector parses such frames. It keeps its decoders, and is not safe for concurrent use.
type Inspector struct {
	arp       layers.ARP
	ip6       layers.IPv6
	icmp      layers.ICMPv6
	solicit   layers.ICMPv6NeighborSolicitation
	advert    layers.ICMPv6NeighborAdvertisement
	ip4       layers.IPv4
	udp       layers.UDP
	dhcp      layers.DHCPv4
	parsers   map[uint16]*gopacket.DecodingLayerParser
	decoded   []gopacket.LayerType
	sightings []Sighting
}

// NewInspector returns an Inspector.
func NewInspector() *Inspector {
	i := &Inspector{}
	i.parsers = map[uint16]*gopacket.DecodingLayerParser{
		EtherTypeARP:  gopacket.NewDecodingLayerParser(layers.LayerTypeARP, &i.arp),
		EtherTypeIPv6: gopacket.NewDecodingLayerParser(layers.LayerTypeIPv6, &i.ip6, &i.icmp, &i.solicit, &i.advert),
		EtherTypeIPv4: gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, &i.ip4, &i.udp, &i.dhcp),
	}
	for _, p := range i.parsers {
		p.IgnoreUnsupported = true // what comes behind ARP is padding
	}
	return i
}

// Inspect returns the pairs that a frame tells, valid until the next call; ok is false when it cannot be read. Such a
// frame is carried all the same: judging it is its receiver's business.
func (i *Inspector) Inspect(frame []byte, k *Key) (found []Sighting, ok bool) {
	i.sightings = i.sightings[:0]
	parser := i.parsers[k.EtherType]
	if parser == nil {
		return nil, true
	}
	err := parser.DecodeLayers(frame[k.Header():], &i.decoded)
	if err != nil || parser.Truncated || len(i.decoded) == 0 {
		return nil, false
	}
	switch i.decoded[len(i.decoded)-1] {
	case layers.LayerTypeARP:
		return i.fromARP()
	case layers.LayerTypeICMPv6NeighborSolicitation:
		i.add(i.option(i.solicit.Options, layers.ICMPv6OptSourceAddress), i.ip6.SrcIP, learner.FromND)
	case layers.LayerTypeICMPv6NeighborAdvertisement:
		i.add(i.option(i.advert.Options, layers.ICMPv6OptTargetAddress), i.advert.TargetAddress, learner.FromND)
	case layers.LayerTypeDHCPv4:
		if i.dhcp.Operation == layers.DHCPOpReply && granted(i.dhcp.Options) {
			i.add(i.dhcp.ClientHWAddr, i.dhcp.YourClientIP, learner.FromDHCP)
		}
	default:
		return nil, false
	}
	return i.sightings, true
}

// fromARP takes the sender's fields of requests and replies alike (RFC 826).
func (i *Inspector) fromARP() ([]Sighting, bool) {
	a := &i.arp
	if a.AddrType != layers.LinkTypeEthernet || a.Protocol != layers.EthernetTypeIPv4 || a.HwAddressSize != 6 || a.ProtAddressSize != 4 {
		return nil, false
	}
	i.add(a.SourceHwAddress, a.SourceProtAddress, learner.FromARP)
	return i.sightings, true
}

func (i *Inspector) option(options layers.ICMPv6Options, want layers.ICMPv6Opt) []byte {
	for _, o := range options {
		if o.Type == want {
			return o.Data
		}
	}
	return nil
}

// granted says whether a DHCP message is the server's acknowledgement (RFC 2131, 3.1).
func granted(options layers.DHCPOptions) bool {
	for _, o := range options {
		if o.Type == layers.DHCPOptMessageType {
			return len(o.Data) == 1 && layers.DHCPMsgType(o.Data[0]) == layers.DHCPMsgTypeAck
		}
	}
	return false
}

// add notes a pair of two well-formed addresses of one station each.
func (i *Inspector) add(mac, ip []byte, from learner.Source) {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok || len(mac) != 6 || addr.IsUnspecified() || addr.IsMulticast() {
		return
	}
	if m := learner.MAC(mac); !m.Group() && !m.IsZero() {
		i.sightings = append(i.sightings, Sighting{MAC: m, IP: addr.Unmap(), From: from})
	}
}
