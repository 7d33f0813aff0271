package sim

import (
	"net/netip"
)

// Behaviour of a NAT, in the words of RFC 4787: how it maps, and what it lets in.
type Behaviour uint8

// The kinds. All map endpoint-independently but the last.
const (
	FullCone          Behaviour = iota + 1 // lets everybody in who sends to a mapping
	AddressRestricted                      // whom an inside host has sent to, by address
	PortRestricted                         // by address and port
	Symmetric                              // maps anew for every destination, and lets in only that
)

// Behind says which NAT a node is behind.
type Behind struct {
	Box  int // nodes of one number share a box
	Kind Behaviour
}

// nat is one box with an outside address of its own.
type nat struct {
	kind    Behaviour
	outside netip.Addr
	inside  map[netip.Addr]bool
	maps    map[natKey]*mapped
	ports   map[uint16]*mapped
	next    uint16
}

// natKey names a mapping; to is set only by boxes that map for every destination.
type natKey struct{ inside, to netip.AddrPort }

type mapped struct {
	inside netip.AddrPort
	port   uint16
	sent   map[netip.AddrPort]bool
}

// behind makes the box that a node is behind, or finds it.
func (w *World) behind(b Behind, at place) *nat {
	outside := netip.AddrFrom4([4]byte{198, 18, byte(b.Box >> 8), byte(b.Box)})
	box := w.nats[outside]
	if box == nil {
		box = &nat{
			kind: b.Kind, outside: outside, inside: map[netip.Addr]bool{}, maps: map[natKey]*mapped{}, ports: map[uint16]*mapped{},
			next: uint16(20000 + w.rng.IntN(20000)),
		}
		w.nats[outside] = box
		w.net.places[outside] = at
	}
	return box
}

// same says whether an address is on the inside of the box.
func (b *nat) same(a netip.Addr) bool { return b.inside[a] }

// out returns where a datagram seems to come from outside.
func (b *nat) out(inside, to netip.AddrPort) netip.AddrPort {
	key := natKey{inside: inside}
	if b.kind == Symmetric {
		key.to = to
	}
	m := b.maps[key]
	if m == nil {
		for b.next++; b.ports[b.next] != nil || b.next < 20000; {
			b.next++
		}
		m = &mapped{inside: inside, port: b.next, sent: map[netip.AddrPort]bool{}}
		b.maps[key], b.ports[m.port] = m, m
	}
	m.sent[to] = true
	m.sent[netip.AddrPortFrom(to.Addr(), 0)] = true
	return netip.AddrPortFrom(b.outside, m.port)
}

// in returns the host inside that a datagram is for, if the box lets it in.
func (b *nat) in(from netip.AddrPort, port uint16) (netip.AddrPort, bool) {
	m := b.ports[port]
	if m == nil {
		return netip.AddrPort{}, false
	}
	switch b.kind {
	case FullCone:
		return m.inside, true
	case AddressRestricted:
		return m.inside, m.sent[netip.AddrPortFrom(from.Addr(), 0)]
	}
	return m.inside, m.sent[from]
}

// Rebind makes the box of a node forget all mappings, as routers do when they restart.
func (w *World) Rebind(i int) {
	if b := w.Nodes[i].nat; b != nil {
		clear(b.maps)
		clear(b.ports)
	}
}
