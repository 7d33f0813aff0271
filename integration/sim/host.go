package sim

import (
	"maps"
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/wgmesh"
)

// host is the data plane of one node: what Ops change and Observe shows. It survives the node's daemon.
type host struct {
	node    *Node
	address netip.Addr
	slots   map[wgmesh.Slot]*slot
	routes  map[netip.Addr]wgmesh.Slot
	silent  uint64 // packets that found no tunnel
}

type slot struct {
	dev  *wireguard
	port uint16
	mtu  int
}

func newHost(n *Node) *host {
	return &host{node: n, slots: map[wgmesh.Slot]*slot{}, routes: map[netip.Addr]wgmesh.Slot{}}
}

// apply does what wgdev does, in order. What cannot be done is a violation: the core asked for it.
func (h *host) apply(ops []wgmesh.Op) {
	for _, op := range ops {
		switch o := op.(type) {
		case wgmesh.AddAddress:
			h.address = o.Address
		case wgmesh.AddSlot:
			h.add(o)
		case wgmesh.SetSlot:
			if s := h.slot(o.Slot); s != nil {
				h.change(s, o)
			}
		case wgmesh.AddPeer:
			if s := h.slot(o.Slot); s != nil {
				s.dev.set(o.Peer.Key, &o.Peer.PSK, o.Peer.Endpoint, o.Peer.Allowed, wgmesh.Keepalive)
			}
		case wgmesh.SetPeer:
			if s := h.slot(o.Slot); s != nil {
				h.setPeer(s, o)
			}
		case wgmesh.SetRoute:
			h.routes[o.To] = o.Slot
		case wgmesh.DelRoute:
			delete(h.routes, o.To)
		case wgmesh.DelPeer:
			if s := h.slot(o.Slot); s != nil {
				s.dev.remove(o.Key)
			}
		case wgmesh.DelSlot:
			delete(h.slots, o.Slot)
		}
	}
}

func (h *host) slot(n wgmesh.Slot) *slot {
	s := h.slots[n]
	if s == nil {
		h.node.world.violate("node %d: a step names slot %d, which does not exist", h.node.index, n)
	}
	return s
}

func (h *host) add(o wgmesh.AddSlot) {
	w := h.node.world
	dev := newWireguard(w.clock, w.rng, &w.indices, o.PrivateKey)
	s := &slot{dev: dev, port: o.Port, mtu: o.MTU}
	dev.frozen = h.node.frozenUntil
	dev.send = func(to netip.AddrPort, d datagram) { w.datagram(netip.AddrPortFrom(h.node.addr, s.port), to, d) }
	dev.deliver = func(p *wgPeer, source, dst netip.Addr, payload any) { h.node.packet(p, source, dst, payload) }
	h.slots[o.Slot] = s
}

func (h *host) change(s *slot, o wgmesh.SetSlot) {
	if o.Port != 0 {
		s.port = o.Port
	}
	if o.MTU != 0 {
		s.mtu = o.MTU
	}
	if o.Up {
		s.dev.up = true
	}
}

func (h *host) setPeer(s *slot, o wgmesh.SetPeer) {
	p := s.dev.peers[o.Key]
	if p == nil {
		h.node.world.violate("node %d: a step changes a tunnel that does not exist", h.node.index)
		return
	}
	var endpoint netip.AddrPort
	if o.Endpoint != nil {
		endpoint = *o.Endpoint
		// The core may not have heard yet of a session that is younger than its last look.
		if age := h.node.world.clock.now.Sub(p.lastHandshake); age > observeCalm && age < rekeyAfter {
			h.node.world.violate("node %d: an endpoint is written to a tunnel with a session of %v", h.node.index, age)
		}
	}
	keepalive := p.keepalive
	if o.Keepalive {
		keepalive = wgmesh.Keepalive
	}
	s.dev.set(o.Key, o.PSK, endpoint, o.Allowed, keepalive)
}

// observe is what wgdev would report.
func (h *host) observe() wgmesh.DeviceStatus {
	status := wgmesh.DeviceStatus{Reason: "simulated", Address: h.address}
	for _, n := range slices.Sorted(maps.Keys(h.slots)) {
		s := h.slots[n]
		out := wgmesh.SlotStatus{
			Slot: n, Name: "wg-sim", PrivateKey: s.dev.private, PublicKey: s.dev.public, Port: s.port, MTU: s.mtu, Up: s.dev.up,
			Peers: make([]wgmesh.PeerStatus, 0, len(s.dev.peers)),
		}
		for _, p := range s.dev.peers {
			out.Peers = append(out.Peers, wgmesh.PeerStatus{
				Key: p.key, PSK: p.psk, Endpoint: p.endpoint, LastHandshake: p.lastHandshake, Rx: p.rx, Tx: p.tx,
				Keepalive: p.keepalive, Allowed: p.allowed,
			})
		}
		slices.SortFunc(out.Peers, func(a, b wgmesh.PeerStatus) int { return slices.Compare(a.Key[:], b.Key[:]) })
		status.Slots = append(status.Slots, out)
	}
	for to, n := range h.routes {
		status.Routes = append(status.Routes, wgmesh.Route{To: to, Slot: n})
	}
	slices.SortFunc(status.Routes, func(a, b wgmesh.Route) int { return a.To.Compare(b.To) })
	return status
}

// transmit sends a packet as the kernel would: by route into a slot, by allowed address into a tunnel.
func (h *host) transmit(pkt packet) {
	n, ok := h.routes[pkt.dst]
	s := h.slots[n]
	if !ok || s == nil || !s.dev.transmit(pkt) {
		h.silent++
		return
	}
	if p := s.dev.route(pkt.dst); p.psk == (wgtypes.Key{}) {
		h.node.world.violate("node %d: a packet went into a tunnel without a pre-shared key", h.node.index)
	}
}
