package wgmesh

import (
	"net/netip"
	"slices"

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

// desired is the device as it should be: every tunnel with an agreed key is on its slot, every link has a route into the
// tunnel in use, and what an earlier run left is kept as it is until it is claimed or its time is over.
func (c *Core) desired() DeviceSpec {
	spec := DeviceSpec{Address: topology.OverlayAddress(c.settings.Mesh, c.self)}
	peers := map[Slot][]PeerSpec{}
	for _, l := range c.byPeer() {
		for _, t := range l.tunnels {
			if !t.wanted() {
				continue
			}
			peers[t.slot] = append(peers[t.slot], PeerSpec{
				Key: t.key, PSK: t.psk.key, Endpoint: t.endpoint, Move: !t.live(c.now), Allowed: []netip.Prefix{hostPrefix(l.address)},
				Silent: l.silent(t, c.now),
			})
		}
		if l.using != nil && l.using.wanted() && !l.silent(l.using, c.now) {
			spec.Routes = append(spec.Routes, Route{To: l.address, Slot: l.using.slot})
		}
	}
	for key, p := range c.adopted {
		peers[key.slot] = append(peers[key.slot], PeerSpec{Key: p.Key, PSK: p.PSK, Endpoint: p.Endpoint, Allowed: p.Allowed})
		for _, prefix := range p.Allowed {
			if slices.Contains(c.device.Routes, Route{To: prefix.Addr(), Slot: key.slot}) {
				spec.Routes = append(spec.Routes, Route{To: prefix.Addr(), Slot: key.slot})
			}
		}
	}
	for s := range Slot(topology.MaxSlots) {
		own := &c.slots[s]
		if !own.exists() {
			continue
		}
		slices.SortFunc(peers[s], func(a, b PeerSpec) int { return slices.Compare(a.Key[:], b.Key[:]) })
		spec.Slots = append(spec.Slots, SlotSpec{
			Slot: s, PrivateKey: own.private, Port: c.slotPort(s), MTU: deviceMTU(c.mtu), Peers: peers[s],
		})
	}
	slices.SortFunc(spec.Routes, func(a, b Route) int { return a.To.Compare(b.To) })
	spec.Routes = slices.CompactFunc(spec.Routes, func(a, b Route) bool { return a.To == b.To })
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
		if !l.life.watching.IsZero() {
			snap.Probe = append(snap.Probe, Probe{Member{ID: l.peer, Address: l.address}, l.life.pace(l.busy, l.using.dead)})
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
