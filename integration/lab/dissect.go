package lab

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// Packet is one UDP datagram or TCP segment as it is on the wire.
type Packet struct {
	Protocol uint8 // 6 or 17
	Src, Dst netip.AddrPort
	Seq      uint32 // TCP: of the first payload byte
	SYN      bool
	Payload  []byte
}

// Packets takes a frame apart: what the kernel kept together for later segmentation (GSO) comes as the packets that
// it stands for. Frames that are neither TCP nor UDP over IP give none.
func (f Frame) Packets() iter.Seq[Packet] {
	return func(yield func(Packet) bool) {
		decoded := gopacket.NewPacket(f.Data, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
		network := decoded.NetworkLayer()
		if network == nil {
			return
		}
		src, _ := netip.AddrFromSlice(network.NetworkFlow().Src().Raw())
		dst, _ := netip.AddrFromSlice(network.NetworkFlow().Dst().Raw())
		var p Packet
		switch t := decoded.TransportLayer().(type) {
		case *layers.UDP:
			p = Packet{Protocol: 17, Src: netip.AddrPortFrom(src, uint16(t.SrcPort)),
				Dst: netip.AddrPortFrom(dst, uint16(t.DstPort)), Payload: t.Payload}
		case *layers.TCP:
			p = Packet{Protocol: 6, Src: netip.AddrPortFrom(src, uint16(t.SrcPort)),
				Dst: netip.AddrPortFrom(dst, uint16(t.DstPort)), Seq: t.Seq, SYN: t.SYN, Payload: t.Payload}
		default:
			return
		}
		// Ethernet pads short frames behind the packet; the decoder has cut that off.
		all := p.Payload
		for first := true; first || len(all) > 0; first = false {
			n := len(all)
			if f.Segment > 0 {
				n = min(n, f.Segment)
			}
			p.Payload, all = all[:n], all[n:]
			if !yield(p) {
				return
			}
			p.Seq += uint32(n)
		}
	}
}

// Kind is what a packet on the underlay is, as far as its outside tells.
type Kind string

// The kinds. A WireGuard message begins with its type in four bytes, little-endian (WireGuard paper, 5.4).
const (
	WireGuardInitiation Kind = "WireGuard initiation"
	WireGuardResponse   Kind = "WireGuard response"
	WireGuardCookie     Kind = "WireGuard cookie"
	WireGuardData       Kind = "WireGuard data"
	UDPOther            Kind = "other UDP"
	TCPControl          Kind = "TCP without payload"
	TCPPayload          Kind = "TCP payload"
)

// Kind classifies a packet. What TCP carries shows only in the stream: see TLSStream.
func (p Packet) Kind() Kind {
	if p.Protocol == 6 {
		if len(p.Payload) == 0 {
			return TCPControl
		}
		return TCPPayload
	}
	if len(p.Payload) < 4 {
		return UDPOther
	}
	switch kind, n := binary.LittleEndian.Uint32(p.Payload), len(p.Payload); {
	case kind == 1 && n == 148:
		return WireGuardInitiation
	case kind == 2 && n == 92:
		return WireGuardResponse
	case kind == 3 && n == 64:
		return WireGuardCookie
	case kind == 4 && n >= 32 && n%16 == 0:
		return WireGuardData
	}
	return UDPOther
}
