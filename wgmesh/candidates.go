package wgmesh

import (
	"net/netip"
	"slices"

	"github.com/weavewg/weavewg/topology"
)

// candidates lists where the peer's slot may be reached, best first: the address that a control session proved, what the
// peer itself says of this slot, what others see of it, what it says of its host.
func (c *Core) candidates(l *link, t *tunnel) []netip.AddrPort {
	var list []netip.AddrPort
	add := func(a netip.AddrPort) {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if a.IsValid() && a.Port() != 0 && !slices.Contains(list, a) && len(list) < topology.MaxEndpoints {
			list = append(list, a)
		}
	}
	if s := c.sessionWith(l.peer); s != nil && s.remote.IsValid() {
		add(netip.AddrPortFrom(s.remote.Addr(), t.peerPort))
	}
	for _, e := range t.theirEndpoints {
		add(e)
	}
	rec := c.graph.Get(l.peer)
	if rec == nil {
		return list
	}
	for _, e := range rec.Seen {
		if e.Slot == t.peerSlot {
			add(e.Addr)
		}
	}
	for _, a := range rec.Addrs {
		if !slices.Contains(c.addresses, a) {
			add(netip.AddrPortFrom(a, t.peerPort))
		}
	}
	return list
}

// ownEndpoints lists where our slot may be reached, for the other end of a tunnel: what others see of it, then our own
// addresses.
func (c *Core) ownEndpoints(t *tunnel) []netip.AddrPort {
	var list []netip.AddrPort
	add := func(a netip.AddrPort) {
		if !slices.Contains(list, a) && len(list) < topology.MaxEndpoints && topology.CheckUnderlay(a.Addr()) == nil {
			list = append(list, a)
		}
	}
	for _, e := range c.seenAt(t.slot) {
		add(e)
	}
	for _, a := range c.ownAddrs() {
		add(netip.AddrPortFrom(a, c.slotPort(t.slot)))
	}
	return list
}

// seenAt lists where others see a slot of ours, in order.
func (c *Core) seenAt(slot Slot) []netip.AddrPort {
	var list []netip.AddrPort
	for _, e := range c.observed {
		if e.Slot == uint8(slot) && !slices.Contains(list, e.Addr) {
			list = append(list, e.Addr)
		}
	}
	for _, e := range c.mapped {
		if e.slot == slot && !slices.Contains(list, e.addr) {
			list = append(list, e.addr)
		}
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return list
}
