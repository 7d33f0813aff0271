package wgmesh

import (
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// holdTime is how long after the first session tunnels that nobody claims are kept: a start adopts, and deletes only
// when it had the time to learn what is still true.
const holdTime = time.Minute

// relateLinks makes the set of links that of the nodes with which we share a network, each with the peer's current key.
func (c *Core) relateLinks() {
	for id, rec := range c.graph.All() {
		c.relateLink(id, rec)
	}
	for id := range c.links {
		if c.graph.Get(id) == nil {
			c.unlink(id)
		}
	}
}

// relateLink makes, keeps or drops the link to one node. It happens as soon as the record is here: the peer may begin to
// agree on a key at once. It returns why the key in the record is refused, if it is.
func (c *Core) relateLink(id topology.NodeID, rec *topology.Record) (refused string) {
	if id == c.self {
		return ""
	}
	if rec.Left || len(rec.Slots) == 0 || !c.shares(rec) {
		c.unlink(id)
		return ""
	}
	l := c.links[id]
	if l == nil || l.tunnel.key != rec.Slots[0].Key {
		if why := c.takenKey(id, rec.Slots[0].Key); why != "" {
			c.unlink(id)
			return why
		}
		if gone := c.holder(id, rec.Slots[0].Key); gone != nil {
			c.unlink(gone.peer)
		}
	}
	if l == nil {
		l = &link{peer: id, address: topology.OverlayAddress(c.settings.Mesh, id)}
		c.links[id] = l
		c.inOrder = nil
	}
	if slot := rec.Slots[0]; l.tunnel.key != slot.Key || l.tunnel.peerSlot != slot.Slot {
		l.rekey(c.now, slot)
		c.adopt(l)
	} else {
		l.tunnel.peerPort = slot.Port
	}
	return ""
}

// takenKey says why a node cannot have a WireGuard key: it is ours (WireGuard ignores such a peer without a word), or
// another node's. A device has one peer entry a key, so whoever states the key of another node would take its tunnel
// over; who had it first keeps it, unless that node is gone.
func (c *Core) takenKey(id topology.NodeID, key wgtypes.Key) string {
	if key == c.slot.public {
		return "its record states our own WireGuard key"
	}
	if l := c.holder(id, key); l != nil && (c.isPresent(l.peer) || l.tunnel.live(c.now)) {
		return "its record states the WireGuard key of " + c.name(l.peer) + ", which keeps it"
	}
	return ""
}

// holder is the link of another node than id whose tunnel has a key; there is at most one.
func (c *Core) holder(id topology.NodeID, key wgtypes.Key) *link {
	for _, l := range c.links {
		if l.peer != id && l.tunnel.key == key {
			return l
		}
	}
	return nil
}

func (c *Core) unlink(id topology.NodeID) {
	if _, ok := c.links[id]; ok {
		delete(c.links, id)
		c.inOrder = nil
		c.relink = true
	}
}

// shares says whether a node is a member of one of our networks.
func (c *Core) shares(rec *topology.Record) bool {
	return slices.ContainsFunc(rec.Networks, func(n topology.NetworkRef) bool {
		return slices.ContainsFunc(c.settings.Networks, func(own NetworkSettings) bool { return own.VNI == n.VNI })
	})
}

// adopt lets a link claim the tunnel that was on the device before this run.
func (c *Core) adopt(l *link) {
	if p, ok := c.adopted[l.tunnel.key]; ok && slices.Contains(p.Allowed, hostPrefix(l.address)) {
		l.tunnel.psk = p.PSK
		l.observe(c.now, c.device)
		delete(c.adopted, l.tunnel.key)
	}
}

func hostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// observe takes in what the device looks like.
func (c *Core) observe(e Observed) {
	c.device, c.deviceErr = e.Status, e.Err
	if !c.seenDevice {
		c.seenDevice = true
		c.adoptDevice()
		return
	}
	if slot, ok := findSlot(e.Status.Slots, 0); ok && slot.PrivateKey != (wgtypes.Key{}) && slot.PrivateKey != c.slot.private {
		c.takeSlotKey(slot.PrivateKey, c.slot.generation+1) // somebody changed it: it works, so say the new one
		c.note(Warn, "slot-key-changed", c.self, slot.Name+" was given another private key from outside; the mesh is told")
	}
	for _, l := range c.byPeer() {
		carried, lived := l.carries(c.now), l.tunnel.live(c.now)
		l.observe(c.now, e.Status)
		if carried != l.carries(c.now) || lived != l.tunnel.live(c.now) {
			c.relink = true // news for the datapath or the prober
		}
	}
}

// adoptDevice looks at the device for the first time: what an earlier run left is kept, or a first key is made.
func (c *Core) adoptDevice() {
	slot, ok := findSlot(c.device.Slots, 0)
	c.adopted = map[wgtypes.Key]PeerStatus{}
	memory := SlotMemory{}
	if len(c.state.Slots) > 0 {
		memory = c.state.Slots[0]
	}
	if ok && slot.PrivateKey != (wgtypes.Key{}) {
		generation := memory.Generation
		if memory.PublicKey != slot.PrivateKey.PublicKey().String() {
			generation++
		}
		c.takeSlotKey(slot.PrivateKey, generation)
		for _, p := range slot.Peers {
			c.adopted[p.Key] = p
		}
	} else {
		c.takeSlotKey(c.newKey(), memory.Generation+1)
	}
	for _, l := range c.byPeer() {
		c.adopt(l)
	}
	c.relink = true
}

func (c *Core) takeSlotKey(private wgtypes.Key, generation uint32) {
	c.slot = ownSlot{private: private, public: private.PublicKey(), generation: generation, since: c.now}
	c.state.Slots = []SlotMemory{{Slot: 0, PublicKey: c.slot.public.String(), Generation: generation}}
	for _, l := range c.links {
		l.psk, l.tunnel.pskSince = pskAgreement{}, time.Time{}
	}
	c.do(Persist{c.state})
	c.touch()
	c.relink = true
}

func (c *Core) probed(e Probed) {
	if l := c.links[e.Peer]; l != nil {
		l.probes.add(e.RTT)
	}
}

// tendLinks moves every link on: endpoint, key agreement, state.
func (c *Core) tendLinks() {
	if !c.seenDevice {
		return
	}
	for _, l := range c.byPeer() {
		before := l.carries(c.now)
		endpoint := l.tunnel.endpoint
		if !l.tunnel.live(c.now) {
			l.aim(c.now, c.candidates(l))
		}
		c.agree(l)
		if l.judge(c.now, c.isPresent(l.peer)) {
			level := Info
			if l.state == LinkDown {
				level = Warn
			}
			c.note(level, "link-"+l.state.String(), l.peer, l.reason)
		}
		if before != l.carries(c.now) || endpoint != l.tunnel.endpoint && !l.tunnel.live(c.now) {
			c.relink = true
		}
	}
	if !c.holdUntil.IsZero() && len(c.adopted) > 0 && c.now.After(c.holdUntil) {
		c.adopted = nil
		c.relink = true
	}
}

// agree drives the key agreement of one link: it opens the session that this takes, and says what is due.
func (c *Core) agree(l *link) {
	s := c.sessionWith(l.peer)
	leads := c.self.Compare(l.peer) < 0
	lacks := !leads && l.tunnel.psk == (wgtypes.Key{})
	if s == nil {
		if l.psk.phase == pskPreparing || l.psk.phase == pskConfirmed {
			l.psk = pskAgreement{}
		}
		switch {
		case leads && l.wantsPSK(c.now, &session{}):
			c.openRouted(l, routedPatience)
		case lacks:
			c.openRouted(l, 3*routedPatience) // usually the leader is first
		}
		return
	}
	if l.tunnel.onDevice && l.tunnel.psk == l.psk.key {
		if m, ok := l.installed(c.now, c.self, c.slot.public); ok {
			s.used = c.now
			c.do(Send{s.id, m})
		}
	}
	if lacks {
		if due := later(s.up, l.psk.sent).Add(pskPatience); c.now.Before(due) {
			c.wakeAt(due)
		} else {
			l.psk.sent, s.used = c.now, c.now
			c.do(Send{s.id, l.pskMessage(topology.PSKWanted, c.slot.public)})
		}
	}
	if !leads {
		return
	}
	switch {
	case l.wantsPSK(c.now, s):
		s.used = c.now
		c.do(Send{s.id, l.prepare(c.now, s, c.rng.Uint64(), c.self, c.slot.public)})
	case l.psk.phase == pskPreparing && c.now.Sub(l.psk.sent) >= pskRetry:
		l.psk.sent = c.now
		c.do(Send{s.id, l.pskMessage(topology.PSKPrepare, c.slot.public)})
	}
	if l.psk.phase == pskPreparing {
		c.wakeAt(l.psk.sent.Add(pskRetry))
	}
}

// routedPatience is how long a direct session is waited for before neighbours are asked to carry one.
const routedPatience = time.Second

// openRouted asks for a session over neighbours when there is no direct one.
func (c *Core) openRouted(l *link, patience time.Duration) {
	if _, ok := c.routes[l.peer]; !ok {
		return
	}
	if l.nextRouted.IsZero() {
		l.nextRouted = c.now.Add(patience)
	}
	if c.now.Before(l.nextRouted) {
		c.wakeAt(l.nextRouted)
		return
	}
	l.nextRouted = c.now.Add(10 * time.Second) // or sooner, when this try has failed
	c.do(OpenRouted{l.peer})
}

// routedFailed lets the next try come with growing pauses.
func (l *link) routedFailed(now time.Time, reason string) {
	l.routedTries++
	l.nextRouted = now.Add(min(10*time.Second, 500*time.Millisecond<<min(l.routedTries, 5)))
	l.routedReason = reason
}

// candidates lists where the peer's slot may be reached, best first: the address that a control session proved, what
// others see of it, what it says of itself.
func (c *Core) candidates(l *link) []netip.AddrPort {
	var list []netip.AddrPort
	add := func(a netip.AddrPort) {
		a = netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
		if a.IsValid() && a.Port() != 0 && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	if s := c.sessionWith(l.peer); s != nil && s.remote.IsValid() {
		add(netip.AddrPortFrom(s.remote.Addr(), l.tunnel.peerPort))
	}
	rec := c.graph.Get(l.peer)
	if rec == nil {
		return list
	}
	for _, e := range rec.Seen {
		if e.Slot == l.tunnel.peerSlot {
			add(e.Addr)
		}
	}
	for _, a := range rec.Addrs {
		if !slices.Contains(c.addresses, a) {
			add(netip.AddrPortFrom(a, l.tunnel.peerPort))
		}
	}
	return list
}

// byPeer lists links in id order. The list must not be changed.
func (c *Core) byPeer() []*link {
	if c.inOrder == nil {
		for _, l := range c.links {
			c.inOrder = append(c.inOrder, l)
		}
		slices.SortFunc(c.inOrder, func(a, b *link) int { return a.peer.Compare(b.peer) })
	}
	return c.inOrder
}
