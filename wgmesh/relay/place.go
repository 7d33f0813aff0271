package relay

import (
	"net/netip"
	"slices"
)

// place is an address from which legs are registered: one for an end, many for a neighbouring relay.
type place struct {
	groups []*group
	legs   int
	tries  bucket // initiations from here for which mac1 is computed
}

// group is the legs at one place that lead to the same slot, in the order in which they came: mac1 tells the slot of an
// initiation, and nothing tells who sent it.
type group struct {
	receiver [32]byte // key of the slot at the other side
	mac1     mac1
	sides    []side
}

// arrive adds a leg to the place that it is registered at.
func (t *Table) arrive(s side) {
	p := t.places[s.addr()]
	if p == nil {
		p = &place{}
		t.places[s.addr()] = p
	}
	p.legs++
	receiver := s.b.Legs[1-s.leg].Key
	for _, g := range p.groups {
		if g.receiver == receiver {
			g.sides = append(g.sides, s)
			return
		}
	}
	p.groups = append(p.groups, &group{receiver: receiver, mac1: newMAC1(receiver), sides: []side{s}})
}

// leave takes a leg away from its place.
func (t *Table) leave(s side) {
	p := t.places[s.addr()]
	if p == nil {
		return
	}
	for i, g := range p.groups {
		at := slices.Index(g.sides, s)
		if at < 0 {
			continue
		}
		p.legs--
		if g.sides = slices.Delete(g.sides, at, at+1); len(g.sides) == 0 {
			p.groups = slices.Delete(p.groups, i, i+1)
		}
		break
	}
	if p.legs == 0 {
		delete(t.places, s.addr())
	}
}

// meant returns the legs at the place whose other side is the slot that a handshake message is for.
func (p *place) meant(packet []byte) []side {
	for _, g := range p.groups {
		if g.mac1.names(packet) {
			return g.sides
		}
	}
	return nil
}

// plain makes one address of an IPv4 address and its IPv4-mapped form. Zones do not count: see usable.
func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// usable says whether a leg may be registered at an address: not a group's, and not a link-local one, which says nothing
// without its interface.
func usable(a netip.AddrPort) bool {
	ip := a.Addr()
	switch {
	case a.Port() == 0, !ip.IsValid(), ip.IsUnspecified(), ip.IsMulticast(), ip.Zone() != "":
		return false
	case ip.Is4():
		return ip.As4() != [4]byte{255, 255, 255, 255}
	}
	return !ip.IsLinkLocalUnicast()
}
