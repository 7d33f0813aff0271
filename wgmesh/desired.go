package wgmesh

import (
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// converge computes what the device should look like and asks for it when that changed.
func (c *Core) converge() {
	if !c.seenDevice {
		return
	}
	spec := c.desired()
	if c.generation > 0 && spec.equal(c.spec) {
		return
	}
	c.generation++
	c.spec = spec
	c.do(Converge{Spec: spec, Generation: c.generation})
}

// desired is the device as it should be: every link with an agreed key has its tunnel and its route, and what an earlier
// run left is kept as it is until it is claimed or its time is over.
func (c *Core) desired() DeviceSpec {
	spec := DeviceSpec{Address: topology.OverlayAddress(c.settings.Mesh, c.self)}
	slot := SlotSpec{Slot: 0, PrivateKey: c.slot.private, Port: c.settings.Port, MTU: deviceMTU(c.mtu)}
	for _, l := range c.byPeer() {
		if l.tunnel.psk == (wgtypes.Key{}) {
			continue
		}
		slot.Peers = append(slot.Peers, PeerSpec{
			Key: l.tunnel.key, PSK: l.tunnel.psk, Endpoint: l.tunnel.endpoint, Move: !l.tunnel.live(c.now),
			Allowed: []netip.Prefix{hostPrefix(l.address)},
		})
		spec.Routes = append(spec.Routes, Route{To: l.address, Slot: 0})
	}
	for _, p := range c.adopted {
		slot.Peers = append(slot.Peers, PeerSpec{Key: p.Key, PSK: p.PSK, Endpoint: p.Endpoint, Allowed: p.Allowed})
		for _, prefix := range p.Allowed {
			spec.Routes = append(spec.Routes, Route{To: prefix.Addr(), Slot: 0})
		}
	}
	slices.SortFunc(slot.Peers, func(a, b PeerSpec) int { return slices.Compare(a.Key[:], b.Key[:]) })
	slices.SortFunc(spec.Routes, func(a, b Route) int { return a.To.Compare(b.To) })
	spec.Routes = slices.CompactFunc(spec.Routes, func(a, b Route) bool { return a.To == b.To })
	spec.Slots = []SlotSpec{slot}
	return spec
}

// publish gives the datapath the members that can be reached now, when that changed.
func (c *Core) publish() {
	snap := Snapshot{Self: c.self, Address: topology.OverlayAddress(c.settings.Mesh, c.self)}
	links := c.byPeer()
	for _, n := range c.settings.Networks {
		network := Network{Name: n.Name, VNI: n.VNI, MTU: c.networkMTU(n)}
		for _, l := range links {
			if l.carries(c.now) && c.isMember(l.peer, n.VNI) {
				network.Members = append(network.Members, Member{ID: l.peer, Address: l.address})
			}
		}
		snap.Networks = append(snap.Networks, network)
	}
	slices.SortFunc(snap.Networks, func(a, b Network) int { return int(a.VNI) - int(b.VNI) })
	for _, l := range links {
		if l.tunnel.live(c.now) {
			snap.Probe = append(snap.Probe, Member{ID: l.peer, Address: l.address})
		}
	}
	if !snap.equal(c.snapshot) {
		c.snapshot = snap
		c.do(Publish{snap})
	}
}

func (c *Core) isMember(id topology.NodeID, vni uint32) bool {
	rec := c.graph.Get(id)
	return rec != nil && slices.ContainsFunc(rec.Networks, func(n topology.NetworkRef) bool { return n.VNI == vni })
}
