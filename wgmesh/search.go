package wgmesh

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// search sends scouts for the part of a tunnel's way that is ours to find: to the peer's candidates, which opens holes in
// the NATs and firewalls between, or to the first relay, which learns there whom it serves. Scouts leave from the slot's
// own port, so that what they find holds for WireGuard.
type search struct {
	next  time.Time
	pause time.Duration
}

// sentScout is one that was sent and not answered yet.
type sentScout struct {
	at       time.Time
	peer     topology.NodeID // whose link
	tunnel   *tunnel         // nil: an observer was asked where it sees the slot
	slot     Slot
	observer topology.NodeID
	to       []netip.AddrPort
}

// mapping is where an observer sees one of our slots from outside.
type mapping struct {
	slot Slot
	by   topology.NodeID
	addr netip.AddrPort
	at   time.Time
}

const (
	scoutFirst   = 150 * time.Millisecond // pause after the first scouts of a search, growing by half
	scoutSlowest = 2 * time.Second
	registerEach = 15 * time.Second // a registration is refreshed: NATs forget, and change their mappings
	mappingLife  = 2 * time.Minute
	observers    = 3 // how many neighbours are asked
)

// scoutKey authenticates what one node sends to the other end of a session; each direction has its own, so that nothing
// that is thrown back counts.
func scoutKey(export [32]byte, from topology.NodeID, binding [16]byte) scout.Key {
	context := append([]byte("from "), from[:]...)
	return scout.DeriveKey(export, append(context, binding[:]...))
}

// search sends what is due for one tunnel.
func (c *Core) search(l *link, t *tunnel, s *session) {
	if t.retired || t.live(c.now) && t.path.Kind == topology.PathDirect {
		return
	}
	due := t.search.next
	if c.now.Before(due) {
		c.wakeAt(due)
		return
	}
	switch {
	case t.path.Kind == topology.PathRelay:
		c.register(l, t)
		return
	case s == nil:
		return
	}
	c.askObservers(t.slot)
	targets := c.candidates(l, t)
	if t.heard.IsValid() {
		targets = append([]netip.AddrPort{t.heard}, targets...)
	}
	c.scout(s.say, sentScout{peer: l.peer, tunnel: t, slot: t.slot, to: targets})
	t.search.later(c.now)
}

// later spaces the next scouts of a search.
func (s *search) later(now time.Time) {
	s.pause = min(max(scoutFirst, s.pause*3/2), scoutSlowest)
	s.next = now.Add(s.pause)
}

// scout sends one request to several addresses.
func (c *Core) scout(key scout.Key, sent sentScout) {
	if len(sent.to) == 0 {
		return
	}
	c.scoutCount++
	tx := c.rng.Uint64()
	sent.at = c.now
	c.scouts[tx] = sent
	c.do(Scout{Port: c.slotPort(sent.slot), To: sent.to, Key: key, Message: scout.Message{Kind: scout.Request, Tx: tx, Counter: c.scoutStamp()}})
}

// scoutStamp grows with every scout, also across restarts, without a clock being compared: a relay takes registrations of
// one key only in order.
func (c *Core) scoutStamp() uint64 { return c.state.Epoch<<32 | c.scoutCount&0xffffffff }

// askObservers asks some neighbours where they see a slot of ours, unless that is known.
func (c *Core) askObservers(slot Slot) {
	asked := 0
	for _, s := range c.direct() {
		if asked == observers {
			return
		}
		if !s.remote.IsValid() || !s.dialled {
			continue // where it listens is not known
		}
		asked++
		if m := c.mappingBy(slot, s.peer); m != nil && c.now.Sub(m.at) < mappingLife/2 {
			continue
		}
		rec := c.graph.Get(s.peer)
		if rec == nil || len(rec.Slots) == 0 {
			continue
		}
		to := netip.AddrPortFrom(s.remote.Addr().Unmap(), rec.Slots[0].Port)
		c.scout(s.say, sentScout{peer: s.peer, slot: slot, observer: s.peer, to: []netip.AddrPort{to}})
	}
}

func (c *Core) mappingBy(slot Slot, by topology.NodeID) *mapping {
	i := slices.IndexFunc(c.mapped, func(m mapping) bool { return m.slot == slot && m.by == by })
	if i < 0 {
		return nil
	}
	return &c.mapped[i]
}

// scoutAnswered takes the answer to a scout: an address works both ways, and somebody told where we are seen.
func (c *Core) scoutAnswered(e ScoutAnswered) {
	sent, ok := c.scouts[e.Message.Tx]
	if !ok {
		return
	}
	seen := e.Message.Observed
	if seen.IsValid() && topology.CheckUnderlay(seen.Addr()) == nil {
		c.takeMapping(mapping{slot: sent.slot, by: cmp.Or(sent.observer, sent.peer), addr: seen, at: c.now})
	}
	l := c.links[sent.peer]
	if sent.tunnel == nil || l == nil || !slices.Contains(l.tunnels, sent.tunnel) {
		return
	}
	t := sent.tunnel
	rtt := c.now.Sub(sent.at)
	if t.path.Kind == topology.PathDirect && !t.ready.IsZero() && t.verified.IsValid() && rtt >= t.verifiedRTT {
		return // a nearer one answered before
	}
	t.verifiedRTT, l.dirty = rtt, true
	t.found(c.now, e.From)
	if t.path.Kind == topology.PathRelay {
		t.search.next = c.now.Add(registerEach)
	}
	c.relink = true
}

// scoutHeard takes note of a request that the edge has answered: where it came from is a candidate that nobody could know,
// behind a NAT that gives every destination another port.
func (c *Core) scoutHeard(e ScoutHeard) {
	for _, s := range c.bySession() {
		if s.hear.Tag != e.Tag {
			continue
		}
		l := c.links[s.peer]
		if l == nil {
			return
		}
		for _, t := range l.tunnels {
			if t.path.Kind == topology.PathDirect && c.slotPort(t.slot) == e.Port && t.heard != e.From && !t.live(c.now) {
				t.heard, l.dirty = e.From, true
				t.search = search{next: c.now, pause: t.search.pause}
			}
		}
		return
	}
}

// takeMapping keeps where an observer sees a slot.
func (c *Core) takeMapping(m mapping) {
	if old := c.mappingBy(m.slot, m.by); old != nil {
		changed := old.addr != m.addr
		*old = m
		c.unsettled = c.unsettled || changed
		return
	}
	if len(c.mapped) < 4*topology.MaxNeighbours {
		c.mapped, c.unsettled = append(c.mapped, m), true
	}
}

// tendScouts forgets what was not answered or is too old, asks where we are seen, and says to whom to answer.
func (c *Core) tendScouts() {
	if !c.relisten {
		return
	}
	c.relisten = false
	for tx, sent := range c.scouts {
		if c.now.Sub(sent.at) > scout.Memory {
			delete(c.scouts, tx)
		}
	}
	c.mapped = slices.DeleteFunc(c.mapped, func(m mapping) bool { return c.now.Sub(m.at) > mappingLife })
	for s := range Slot(topology.MaxSlots) {
		if c.slots[s].exists() {
			c.askObservers(s) // the home slot: so that NAT is known before it matters
			break
		}
	}
	if keys := c.answering(); !slices.Equal(keys, c.listening) {
		c.listening = keys
		c.do(Listen{Keys: keys})
	}
}

// answering lists the keys by which requests at our slots' ports are answered: those of the peers with whom we have a
// session, and those of the relays that serve us, which ask back before they send data.
func (c *Core) answering() []scout.Key {
	keys := make([]scout.Key, 0, len(c.arrivals))
	for _, s := range c.arrivals {
		keys = append(keys, s.hear)
	}
	for _, l := range c.byPeer() {
		for _, t := range l.tunnels {
			if t.bound != 0 {
				keys = append(keys, t.boundKey)
			}
		}
	}
	return keys
}

// nat judges from what peers see whether something translates our address, and how: "none", "easy" (one mapping for all
// destinations: RFC 4787 calls it endpoint-independent), "hard" (another one for each: symmetric), "unknown".
func (c *Core) nat() string {
	seen := map[Slot][]netip.AddrPort{}
	for _, e := range c.observed {
		seen[Slot(e.Slot)] = append(seen[Slot(e.Slot)], e.Addr)
	}
	for _, m := range c.mapped {
		seen[m.slot] = append(seen[m.slot], m.addr)
	}
	kind := "unknown"
	own := c.ownAddrs()
	for slot, list := range seen {
		for i, a := range list {
			if slices.Contains(own, a.Addr().Unmap()) && a.Port() == c.slotPort(slot) {
				if kind == "unknown" {
					kind = "none"
				}
				continue
			}
			if kind != "hard" {
				kind = "easy"
			}
			for _, b := range list[:i] {
				if a.Addr().Is4() == b.Addr().Is4() && a != b && !slices.Contains(own, b.Addr().Unmap()) {
					kind = "hard"
				}
			}
		}
	}
	return kind
}
