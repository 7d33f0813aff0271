package wgmesh

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// holdTime is how long after the first session tunnels that nobody claims are kept: a start adopts, and deletes only
// when it had the time to learn what is still true.
const holdTime = time.Minute

// relateLinks makes the set of links that of the nodes with which we share a network.
func (c *Core) relateLinks() {
	for id, rec := range c.graph.All() {
		c.relateLink(id, rec)
	}
	for _, l := range c.byPeer() {
		if c.graph.Get(l.peer) == nil {
			c.unlink(l.peer)
		}
	}
}

// relateLink makes, keeps or drops the link to one node. It happens as soon as the record is here: the peer may begin to
// agree on a tunnel at once.
func (c *Core) relateLink(id topology.NodeID, rec *topology.Record) {
	if id == c.self {
		return
	}
	if rec.Left || !c.shares(rec) {
		c.unlink(id)
		return
	}
	if c.links[id] == nil {
		l := &link{
			end:     end{self: c.self, peer: id, leads: c.self.Compare(id) < 0, rev: c.rng.Uint64() >> 16},
			address: topology.OverlayAddress(c.settings.Mesh, id), badVia: map[topology.NodeID]time.Time{},
		}
		c.links[id] = l
		c.inOrder = nil
		l.dirty = true
		c.adopt(l)
	}
}

// refuseKey says why a key that a peer states for a tunnel on a slot cannot be had: it is ours (WireGuard ignores such a
// peer without a word), or another node's. A device has one peer entry a key, so whoever states the key of another node
// would take its tunnel over; who had it first keeps it, unless that node is gone.
func (c *Core) refuseKey(peer topology.NodeID, key wgtypes.Key) string {
	for _, own := range c.slots {
		if key == own.public && own.exists() {
			return "it states our own WireGuard key"
		}
	}
	for _, l := range c.byPeer() {
		if l.peer == peer {
			continue
		}
		t := l.byTheirs(key)
		if t == nil {
			continue
		}
		if c.isPresent(l.peer) || t.live(c.now) {
			why := "it states the WireGuard key of " + c.name(l.peer) + ", which keeps it"
			c.note(Warn, "key-refused", peer, why)
			return why
		}
		l.drop(t)
	}
	return ""
}

func (c *Core) unlink(id topology.NodeID) {
	if l, ok := c.links[id]; ok {
		for _, t := range slices.Clone(l.tunnels) {
			c.endTunnel(l, t)
		}
		delete(c.links, id)
		c.inOrder = nil
		c.relink = true
	}
}

// endTunnel drops a tunnel, and what stood for it elsewhere.
func (c *Core) endTunnel(l *link, t *tunnel) {
	c.unbind(l, t)
	l.drop(t)
	c.relink = true
}

// shares says whether a node is a member of one of our networks.
func (c *Core) shares(rec *topology.Record) bool {
	return slices.ContainsFunc(rec.Networks, func(n topology.NetworkRef) bool {
		return slices.ContainsFunc(c.settings.Networks, func(own NetworkSettings) bool { return own.VNI == n.VNI })
	})
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
	c.observeSlots()
	for _, l := range c.byPeer() {
		carried, lived := l.carries(c.now), l.using != nil && l.using.live(c.now)
		for _, t := range l.tunnels {
			on, inPlace, handshake, endpoint := t.onDevice, t.inPlace, t.handshake, t.endpoint
			t.observe(c.now, e.Status)
			l.dirty = l.dirty || on != t.onDevice || inPlace != t.inPlace || handshake != t.handshake || endpoint != t.endpoint
		}
		busy := l.busy
		l.count(c.now)
		if carried != l.carries(c.now) || lived != (l.using != nil && l.using.live(c.now)) || busy != l.busy {
			c.relink = true // news for the datapath or the prober
		}
	}
}

func (c *Core) probed(e Probed) {
	l := c.links[e.Peer]
	if l == nil {
		return
	}
	burst := l.life.burst
	l.life.probed(c.now, e.RTT)
	l.dirty = l.dirty || !burst.IsZero() || l.using != nil && l.using.dead
	if l.using != nil && l.using.dead && e.RTT > 0 && c.now.Add(-e.RTT).After(l.using.deadSince) { // not what was under way
		l.using.dead = false
		c.relink = true
	}
	if burst != l.life.burst {
		c.relink = true // the prober may slow down again
	}
}

// tendLinks moves links on: the tunnel step, the search for ways, the state. In a large mesh most events are about one link,
// so only those that something happened to are looked at, those that wait for a time, and once a second all.
func (c *Core) tendLinks() {
	if !c.seenDevice {
		return
	}
	all := c.unsettled || c.now.Sub(c.tendedAt) >= settleEvery
	if all {
		c.unsettled, c.tendedAt = false, c.now
	}
	for _, l := range c.byPeer() {
		if all || l.dirty || !l.wake.IsZero() && !c.now.Before(l.wake) {
			l.dirty = false
			wake := c.wake
			c.wake = time.Time{}
			c.tendLink(l)
			l.wake, c.wake = c.wake, wake
		}
		if !l.wake.IsZero() {
			c.wakeAt(l.wake)
		}
	}
	if !c.holdUntil.IsZero() && len(c.adopted) > 0 && c.now.After(c.holdUntil) {
		c.adopted = nil
		c.relink = true
	}
	if all {
		c.tendSlots()
	}
}

func (c *Core) tendLink(l *link) {
	before, carried := l.fingerprint(c.now), l.carries(c.now)
	c.watch(l)
	s := c.sessionWith(l.peer)
	if l.leads {
		c.steer(l, s)
		if s != nil && l.session == s.id {
			l.offers(c.now, s, c.rng.Uint64)
		}
		if wake := l.lead(c.now, c.rttOf(l, s)); !wake.IsZero() {
			c.wakeAt(wake)
		}
	} else {
		l.follow(c.now)
		c.complain(l, s)
	}
	for _, t := range l.tunnels {
		t.aim(c.now, c.candidates(l, t))
		c.search(l, t, s)
		if stage := t.stage(c.now); stage != t.noted {
			t.noted = stage
			c.note(Debug, "tunnel-"+stage.String(), l.peer, fmt.Sprintf("slot %d, %s, theirs %s", t.slot, c.describe(t), t.theirStage))
		}
	}
	c.converse(l, s)
	for _, t := range l.tunnels {
		if l.silent(t, c.now) && t.onDevice {
			c.wakeAt(t.added.Add(answerTime))
		}
	}
	if t := l.using; t != nil && t.onDevice && !t.live(c.now) && c.now.Sub(t.added) < noHandshake {
		c.wakeAt(t.added.Add(noHandshake)) // then people are told
	}
	if l.judge(c.now, c.isPresent(l.peer), c.describe) {
		level := Info
		if l.state == LinkDown {
			level = Warn
		}
		c.note(level, "link-"+l.state.String(), l.peer, l.reason)
		if s != nil {
			c.tell(s)
		}
	}
	if carried != l.carries(c.now) || before != l.fingerprint(c.now) {
		c.relink = true
	}
}

// fingerprint is what the device must look like for a link, as far as a change of it must be noticed. It is cheap, since
// it is computed for every link in every step.
func (l *link) fingerprint(now time.Time) (sum uint64) {
	mix := func(v uint64) { sum = (sum ^ v) * 0x100000001b3 }
	for _, t := range l.tunnels {
		mix(uint64(t.slot) + 1)
		if t.wanted() {
			mix(2)
			for _, b := range t.psk.key[:8] {
				mix(uint64(b))
			}
		}
		a := t.endpoint.Addr().As16()
		for _, b := range a {
			mix(uint64(b))
		}
		mix(uint64(t.endpoint.Port()))
		if t == l.using {
			mix(3)
		}
		if l.silent(t, now) {
			mix(4)
		}
	}
	return sum
}

// watch lets probes judge the tunnel in use.
func (c *Core) watch(l *link) {
	t := l.using
	on := t != nil && t.live(c.now)
	if t != l.watched {
		l.watched = t
		l.life.watch(c.now, false)
	}
	was := l.life.watching.IsZero()
	l.life.watch(c.now, on)
	burst := l.life.burst
	dead, again := false, time.Time{}
	if on {
		dead, again = l.life.judge(c.now, l.busy, t.dead)
	}
	if !again.IsZero() {
		c.wakeAt(again)
	}
	if on && dead != t.dead {
		t.dead, t.deadSince = dead, c.now
		c.relink = true
		if dead {
			c.suspect(l, t)
		}
	}
	if was != l.life.watching.IsZero() || burst != l.life.burst {
		c.relink = true
	}
}

// rttOf is how long a packet to the peer and back takes at most, as far as anybody knows.
func (c *Core) rttOf(l *link, s *session) time.Duration {
	rtt := l.life.srtt + 2*l.life.rttvar
	if s != nil {
		rtt = max(rtt, s.rtt)
	}
	return min(rtt, 5*time.Second)
}

// converse tells the other end what this one has, over a session if there is one. The follower speaks first.
func (c *Core) converse(l *link, s *session) {
	if s == nil {
		c.reach(l)
		return
	}
	if l.leads && l.session != s.id {
		return
	}
	state := l.report(c)
	if !l.due(c.now, s.id, state) {
		if l.leads && l.answered != l.rev {
			c.wakeAt(l.saidAt.Add(repeatPlan))
		}
		return
	}
	if l.leads && (l.saidOn != s.id || !sameState(l.said, state)) {
		l.rev++
		state.Rev = l.rev
	}
	l.tell(c.now, s.id, state)
	s.used = c.now
	c.do(Send{s.id, topology.Message{Link: &state}})
	if l.leads {
		c.wakeAt(c.now.Add(repeatPlan))
	}
}

// report is the state of our end, with what only the core knows.
func (l *link) report(c *Core) topology.LinkState {
	state := l.end.state(c.now, c.slotPort, c.ownEndpoints)
	if !l.leads && l.using != nil {
		if l.using.dead {
			state.Wants |= topology.WantTunnel
		}
		if c.slots[l.using.slot].retiring {
			state.Wants |= topology.WantRenew
		}
	}
	if !l.leads {
		state.Why = l.why
	}
	return state
}

// takeLink takes in what the other end of a link says.
func (c *Core) takeLink(s *session, state *topology.LinkState) {
	s.used = c.now
	l := c.links[s.peer]
	if l == nil {
		c.note(Debug, "link-refused", s.peer, "no link to it: no network in common, or its record is not here yet")
		return
	}
	l.dirty = true
	refuse := func(_ Slot, key wgtypes.Key) string { return c.refuseKey(l.peer, key) }
	if l.leads {
		l.takeReport(c.now, s, *state, refuse)
	} else {
		l.takePlan(c.now, s, *state, c.pickSlot, refuse)
	}
	c.relink = true
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
