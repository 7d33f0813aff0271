package wgmesh

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// bindAgain is how often the leader prolongs a binding, relayLife how long relays keep one without that.
const (
	bindAgain = 45 * time.Second
	relayLife = 150 * time.Second
)

// register asks the first relay of a tunnel to serve its slot: first, as the leader, for the binding along the path, then,
// at both ends, by a scout to the relay's port.
func (c *Core) register(l *link, t *tunnel) {
	relay := l.viaFrom(t)[0]
	s := c.sessionWith(relay)
	if s == nil || s.routed {
		return
	}
	if l.leads && c.bind(l, t, s) {
		t.search = search{}
	}
	if t.bound == 0 {
		return
	}
	rec := c.graph.Get(relay)
	if rec == nil {
		return
	}
	to := c.relayAddrs(s, rec)
	if t.live(c.now) {
		to = []netip.AddrPort{t.endpoint} // where its packets come from; to be registered from elsewhere would lead them astray
	}
	c.scout(t.boundKey, sentScout{peer: l.peer, tunnel: t, slot: t.slot, observer: relay, to: to})
	t.search.later(c.now)
	if !t.ready.IsZero() {
		t.search.next = c.now.Add(registerEach)
	}
}

// relayAddrs lists where a neighbour's relay may be reached.
func (c *Core) relayAddrs(s *session, rec *topology.Record) []netip.AddrPort {
	port := rec.Port + topology.RelayOffset
	var list []netip.AddrPort
	if s.remote.IsValid() {
		list = append(list, netip.AddrPortFrom(s.remote.Addr().Unmap(), port))
	}
	for _, a := range rec.Addrs {
		at := netip.AddrPortFrom(a, port)
		if !slices.Contains(list, at) && !slices.Contains(c.addresses, a) {
			list = append(list, at)
		}
	}
	return list
}

// bind asks for the binding of a tunnel when that is due, and says whether it did.
func (c *Core) bind(l *link, t *tunnel, s *session) bool {
	var none [32]byte
	if t.key == none || t.bound == s.id && c.now.Sub(t.boundAt) < bindAgain {
		return false
	}
	c.relisten = c.relisten || t.bound != s.id
	t.bound, t.boundKey, t.boundAt = s.id, scoutKey(s.export, c.self, t.path.Binding), c.now
	c.do(Send{s.id, topology.Message{Bind: &topology.Bind{
		ID: t.path.Binding, Ends: [2]topology.NodeID{c.self, l.peer}, Keys: [2][32]byte{t.mine, t.key}, Via: t.path.Via,
	}}})
	return true
}

// takeBind handles a request for a binding: as its far end, or as a relay on its way.
func (c *Core) takeBind(s *session, b topology.Bind) {
	refuse := func(why string) { c.do(Send{s.id, topology.Message{Bound: &topology.Bound{ID: b.ID, Why: why}}}) }
	if int(b.At) == len(b.Via) {
		if b.Ends[1] != c.self || s.peer != b.Via[len(b.Via)-1] {
			return
		}
		l := c.links[b.Ends[0]]
		if l == nil || l.leads {
			refuse("no link to that node")
			return
		}
		t := l.bindingTunnel(b.ID)
		if t == nil || t.mine != b.Keys[1] || t.key != b.Keys[0] {
			refuse("no tunnel waits for that binding")
			return
		}
		if t.bound != s.id {
			t.search, l.dirty, c.relisten = search{}, true, true
		}
		t.bound, t.boundKey, t.boundAt = s.id, scoutKey(s.export, c.self, t.path.Binding), c.now
		c.do(Send{s.id, topology.Message{Bound: &topology.Bound{ID: b.ID}}})
		return
	}
	if why := c.relayFor(s, b); why != "" {
		c.note(Debug, "bind-refused", s.peer, why)
		refuse(why)
	}
}

func (l *link) bindingTunnel(id [16]byte) *tunnel {
	i := slices.IndexFunc(l.tunnels, func(t *tunnel) bool { return t.path.Kind == topology.PathRelay && t.path.Binding == id })
	if i < 0 {
		return nil
	}
	return l.tunnels[i]
}

// relayed is a binding that this node forwards for.
type relayed struct {
	neighbours [2]topology.NodeID // towards who asked, and towards the far end
	expires    time.Time
}

// relayFor takes a binding as a relay on its way, and passes the request on. It returns why not.
func (c *Core) relayFor(s *session, b topology.Bind) (why string) {
	if !c.settings.Relay {
		return "this node does not relay"
	}
	at := int(b.At)
	way := slices.Concat([]topology.NodeID{b.Ends[0]}, b.Via, []topology.NodeID{b.Ends[1]})
	before, self, after := way[at], way[at+1], way[at+2]
	if self != c.self || s.peer != before || s.routed {
		return "the path does not lead here"
	}
	if c.graph.Get(b.Ends[0]) == nil || c.graph.Get(b.Ends[1]) == nil {
		return "an end is no member that is known here"
	}
	next := c.sessionWith(after)
	if next == nil || next.routed {
		return c.name(after) + " is no neighbour of " + c.settings.Name
	}
	old, known := c.relaying[b.ID]
	if known && old.neighbours != [2]topology.NodeID{before, after} {
		return "another binding has that id"
	}
	if !known && len(c.relaying) >= maxRelaying {
		return c.settings.Name + " relays for too many already"
	}
	c.relaying[b.ID] = relayed{neighbours: [2]topology.NodeID{before, after}, expires: c.now.Add(relayLife)}
	c.do(Relay{
		ID: b.ID, Owner: b.Ends[0], Expires: c.now.Add(relayLife),
		Legs: [2]RelayLeg{c.relayLeg(s, b.ID, b.Keys[0], at > 0), c.relayLeg(next, b.ID, b.Keys[1], at+1 < len(b.Via))},
	})
	b.At++
	c.do(Send{next.id, topology.Message{Bind: &b}})
	return ""
}

// maxRelaying bounds the bindings of one relay; the edge has quotas for each owner besides.
const maxRelaying = 4096

// relayLeg describes one side of a binding: an end registers at us, another relay and we register at each other.
func (c *Core) relayLeg(s *session, id [16]byte, key [32]byte, isRelay bool) RelayLeg {
	leg := RelayLeg{Node: s.peer, Key: key, Scout: scoutKey(s.export, s.peer, id)}
	if rec := c.graph.Get(s.peer); isRelay && rec != nil {
		leg.Scout, leg.Call = scoutKey(s.export, topology.NodeID{}, id), c.relayAddrs(s, rec)
	}
	return leg
}

// takeBound handles the answer to a Bind, or the end of a binding.
func (c *Core) takeBound(s *session, b topology.Bound) {
	if r, ok := c.relaying[b.ID]; ok {
		if s.peer != r.neighbours[1] {
			return
		}
		if b.Why != "" {
			delete(c.relaying, b.ID)
			c.do(RelayEnd{b.ID})
		}
		if back := c.sessionWith(r.neighbours[0]); back != nil && !back.routed {
			c.do(Send{back.id, topology.Message{Bound: &b}})
		}
		return
	}
	for _, l := range c.byPeer() {
		t := l.bindingTunnel(b.ID)
		if t == nil || !l.leads || b.Why == "" || s.peer != t.path.Via[0] {
			continue
		}
		if t.live(c.now) { // a prolongation failed: what stands still carries, probes decide
			c.note(Debug, "bind-failed", l.peer, b.Why)
			return
		}
		c.failed(l, t, b.Why)
		l.dirty = true
		return
	}
}

// takeUnbind handles the end of a binding that a neighbour asks for.
func (c *Core) takeUnbind(s *session, u topology.Unbind) {
	r, ok := c.relaying[u.ID]
	if !ok || s.peer != r.neighbours[0] {
		return
	}
	delete(c.relaying, u.ID)
	c.do(RelayEnd{u.ID})
	if next := c.sessionWith(r.neighbours[1]); next != nil && !next.routed {
		c.do(Send{next.id, topology.Message{Unbind: &u}})
	}
}

// relayFailed tells both sides of a binding that this node cannot forward for it.
func (c *Core) relayFailed(e RelayFailed) {
	r, ok := c.relaying[e.ID]
	if !ok {
		return
	}
	delete(c.relaying, e.ID)
	c.note(Warn, "relay-refused", r.neighbours[0], e.Why)
	if s := c.sessionWith(r.neighbours[0]); s != nil && !s.routed {
		c.do(Send{s.id, topology.Message{Bound: &topology.Bound{ID: e.ID, Why: c.settings.Name + ": " + e.Why}}})
	}
	if s := c.sessionWith(r.neighbours[1]); s != nil && !s.routed {
		c.do(Send{s.id, topology.Message{Unbind: &topology.Unbind{ID: e.ID}}})
	}
}

// tendRelaying drops the bindings that nobody prolongs.
func (c *Core) tendRelaying() {
	var over [][16]byte
	for id, r := range c.relaying {
		if c.now.After(r.expires) {
			over = append(over, id)
		}
	}
	slices.SortFunc(over, func(a, b [16]byte) int { return slices.Compare(a[:], b[:]) })
	for _, id := range over {
		delete(c.relaying, id)
		c.do(RelayEnd{id})
	}
}

// unbind tells the relays of a tunnel that it is over.
func (c *Core) unbind(l *link, t *tunnel) {
	if !l.leads || t.path.Kind != topology.PathRelay || t.bound == 0 {
		return
	}
	if s := c.sessionWith(t.path.Via[0]); s != nil && !s.routed {
		c.do(Send{s.id, topology.Message{Unbind: &topology.Unbind{ID: t.path.Binding}}})
	}
}

// RelayLeg is one side of a binding that this node forwards for.
type RelayLeg struct {
	Node  topology.NodeID
	Key   [32]byte         // of the WireGuard slot at the end of this side
	Scout scout.Key        // authenticates registrations of this side, and ours at it
	Call  []netip.AddrPort // another relay: where we register in our turn; empty: an end, which registers at us
}
