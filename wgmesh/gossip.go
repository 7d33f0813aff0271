package wgmesh

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// ownDelay gathers changes of the own record, so that a burst of sessions is one version and not twenty.
const ownDelay = 100 * time.Millisecond

// ownPace, for every node of the mesh, is how long versions of the own record are apart: when all nodes of a large mesh
// start at once, everybody hears of at most a hundred changes a second.
const ownPace = 10 * time.Millisecond

// rerouteEvery, for every node of the mesh, gathers news, so that a burst of records is one change of routes.
const rerouteEvery = 2 * time.Millisecond

func (c *Core) rerouteDue() time.Time {
	return c.reroutedAt.Add(time.Duration(c.graph.Len()) * rerouteEvery)
}

// merge takes a record into the graph and passes it on to every other direct session if it was news.
func (c *Core) merge(sealed topology.Sealed, rec *topology.Record, from SessionID) {
	id := rec.ID()
	if id == c.self {
		c.mergeOwn(rec)
		return
	}
	outcome := c.graph.Merge(sealed, rec)
	if outcome.Clash() {
		c.note(Warn, "duplicate-identity", id, "two nodes use the identity of "+c.name(id)+": give one of them a new one (down --purge, init)")
	}
	if !outcome.News() {
		return
	}
	if !c.isPresent(id) {
		c.contacts.nudge(c.now, id) // it is back, or new
	}
	if why := c.relateLink(id, rec); why != "" {
		c.note(Warn, "key-refused", id, why)
	}
	c.stale = true
	c.wakeAt(c.rerouteDue())
	c.flood(topology.Message{Records: []topology.Sealed{sealed}}, from)
	c.saveSoon()
}

// mergeOwn handles a record that claims to be ours. Older ones are echoes. One from the future means that our state was
// restored from an old copy, or that another node runs with a copy of our identity; either way ours must win.
func (c *Core) mergeOwn(rec *topology.Record) {
	if !c.own.Version.Less(rec.Version) && (c.own.Version != rec.Version || c.own.Run == rec.Run) {
		return
	}
	if rec.Run != c.own.Run {
		if c.clone.seen(c.now) {
			c.note(Error, "duplicate-identity", c.self, fmt.Sprintf("another node runs with a copy of our identity (run %x): give one of them a new one (down --purge, init)", rec.Run))
		}
	}
	c.rise(rec.Version)
}

// rise moves the own version past one under which the mesh knows us, or has forgotten us, already: our state was lost or
// is an old copy. Without it our records would stay out.
func (c *Core) rise(past topology.Version) {
	if past.Less(c.own.Version) {
		return
	}
	c.own.Version = topology.Version{Epoch: past.Epoch + 1}
	c.state.Epoch = c.own.Version.Epoch
	c.do(Persist{c.state})
	c.touch()
}

func (c *Core) takeRecords(s *session, sealed []topology.Sealed) {
	for _, one := range sealed {
		rec, err := c.notary.Open(one)
		if err != nil {
			c.refuse(s, err)
			continue
		}
		c.merge(one, rec, s.id)
	}
}

// refuse counts news that are not valid; whoever sends many of them is written about once a while.
func (c *Core) refuse(s *session, err error) {
	s.refused++
	if !s.refusedAt.IsZero() && c.now.Sub(s.refusedAt) < refusedEvery {
		return
	}
	s.refusedAt = c.now
	c.note(Warn, "record-refused", s.peer, fmt.Sprintf("dropped what it passed on (%d times so far): %v", s.refused, err))
}

// refusedEvery is how far apart notes about the news of one session are.
const refusedEvery = time.Minute

// flood sends to every direct session but one.
func (c *Core) flood(m topology.Message, except SessionID) {
	for _, s := range c.direct() {
		if s.id != except {
			c.do(Send{s.id, m})
		}
	}
}

// touch marks the own record as out of date.
func (c *Core) touch() {
	if c.ownDirty.IsZero() {
		c.ownDirty = c.now
	}
	c.wakeAt(c.ownDirty.Add(ownDelay))
}

// sayOwn signs and spreads the own record when it differs from what was said last.
func (c *Core) sayOwn() {
	if c.ownDirty.IsZero() || !c.seenDevice {
		return
	}
	pace := max(time.Duration(c.graph.Len())*ownPace, c.clone.pace(c.now))
	due := later(c.ownDirty.Add(ownDelay), c.saidAt.Add(pace))
	if !c.saidAt.IsZero() && c.now.Before(due) {
		c.wakeAt(due)
		return
	}
	c.ownDirty = time.Time{}
	next := c.compose()
	if c.own.Version.Seq > 0 && sameRecord(next, c.own) {
		return
	}
	next.Version.Seq++
	sealed, err := c.notary.Seal(&next)
	if err != nil {
		c.note(Error, "record-seal", c.self, err.Error())
		return
	}
	c.own, c.ownSealed, c.saidAt = next, sealed, c.now
	c.graph.Merge(sealed, &next)
	c.stale = true
	c.flood(topology.Message{Records: []topology.Sealed{sealed}}, 0)
}

// compose is what the node says about itself now.
func (c *Core) compose() topology.Record {
	r := topology.Record{
		Key: c.settings.Key, Version: c.own.Version, Run: c.settings.Run, Name: c.settings.Name, Software: c.settings.Software,
		Port: c.settings.Port, Addrs: c.ownAddrs(), MTU: c.mtu, Left: c.left,
		Slots: []topology.SlotKey{{Slot: 0, Generation: c.slot.generation, Key: c.slot.public, Port: c.settings.Port}},
	}
	for _, n := range c.settings.Networks {
		r.Networks = append(r.Networks, n.NetworkRef)
	}
	for _, e := range c.observed {
		if !slices.Contains(r.Seen, e) {
			r.Seen = append(r.Seen, e)
		}
	}
	slices.SortFunc(r.Seen, func(a, b topology.Endpoint) int { return a.Addr.Compare(b.Addr) })
	r.Seen = r.Seen[:min(len(r.Seen), topology.MaxSeen)]
	for _, s := range c.direct() {
		if len(r.Edges) < topology.MaxNeighbours {
			r.Edges = append(r.Edges, topology.Edge{Peer: s.peer, Cost: s.cost.Class()})
		}
	}
	slices.SortFunc(r.Edges, func(a, b topology.Edge) int { return a.Peer.Compare(b.Peer) })
	return r
}

// ownAddrs lists where others may try us: advertised first, then what the interfaces have.
func (c *Core) ownAddrs() []netip.Addr {
	var list []netip.Addr
	for _, a := range slices.Concat(c.settings.Advertise, c.addresses) {
		if topology.CheckUnderlay(a) == nil && !slices.Contains(list, a) && len(list) < topology.MaxAddrs {
			list = append(list, a)
		}
	}
	return list
}

// sameRecord compares what two records of one node say, versions apart.
func sameRecord(a, b topology.Record) bool {
	a.Version, b.Version = topology.Version{}, topology.Version{}
	x, errA := topology.EncodeRecord(&a)
	y, errB := topology.EncodeRecord(&b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}

// forgetNode drops an absent node here and asks everybody to do the same.
func (c *Core) forgetNode(id topology.NodeID) {
	rec := c.graph.Get(id)
	if rec == nil || c.isPresent(id) {
		return
	}
	f := topology.Forget{Node: id, Floor: rec.Version}
	c.forget(f)
	c.flood(topology.Message{Forget: &f}, 0)
}

func (c *Core) takeForget(s *session, f topology.Forget) {
	known := c.own.Version
	if f.Node != c.self {
		rec := c.graph.Get(f.Node)
		if rec == nil || f.Floor.Less(rec.Version) || c.isPresent(f.Node) {
			return // already gone, or back meanwhile
		}
		known = rec.Version
	}
	if f.Floor.Epoch > known.Epoch && f.Floor.Epoch-known.Epoch > maxLeap {
		c.refuse(s, fmt.Errorf("forget %s up to version %d.%d: it is at %d.%d", c.name(f.Node), f.Floor.Epoch, f.Floor.Seq, known.Epoch, known.Seq))
		return
	}
	if f.Node == c.self {
		c.rise(f.Floor)
		return
	}
	c.forget(f)
	c.flood(topology.Message{Forget: &f}, s.id)
}

// maxLeap is how many starts of a node another one may have missed. A floor is not signed by the node that it is about: no
// single one may use up its version numbers.
const maxLeap = 1 << 32

func (c *Core) forget(f topology.Forget) {
	c.note(Info, "node-forgotten", f.Node, "dropped from the mesh")
	c.graph.Drop(f.Node, f.Floor)
	delete(c.present, f.Node)
	delete(c.observed, f.Node)
	c.contacts.forget(f.Node)
	c.stale = true
	c.saveSoon()
}

// isPresent says whether control can reach a node now.
func (c *Core) isPresent(id topology.NodeID) bool {
	if id == c.self || c.sessionWith(id) != nil {
		return true
	}
	_, ok := c.routes[id]
	return ok
}

// reroute computes what depends on the graph: routes, presence and the set of links.
func (c *Core) reroute() {
	c.routes = c.graph.Routes(c.self)
	for id := range c.routes {
		c.present[id] = c.now
	}
	for _, id := range c.graph.IDs() {
		if _, ok := c.present[id]; !ok && id != c.self {
			c.present[id] = c.now // known from before: its absence counts from now
		}
	}
	c.relateLinks()
}

// expire drops nodes that nobody has seen for long.
func (c *Core) expire() {
	if c.settings.ForgetAfter <= 0 {
		return
	}
	for _, id := range c.graph.IDs() {
		if id == c.self {
			continue
		}
		if c.isPresent(id) {
			c.present[id] = c.now
		} else if c.now.Sub(c.present[id]) > c.settings.ForgetAfter {
			c.forget(topology.Forget{Node: id, Floor: c.graph.Get(id).Version})
		}
	}
}

// leave says that the node goes on purpose, and closes.
func (c *Core) leave() {
	c.left = true
	c.touch()
	c.own.Version.Seq = max(c.own.Version.Seq, 1)
	c.ownDirty, c.saidAt = c.now.Add(-ownDelay), time.Time{}
	c.sayOwn()
	for _, s := range c.bySession() {
		c.do(Send{s.id, topology.Message{Bye: &topology.Bye{Reason: "the node was taken down"}}}, CloseSession{s.id, "taken down"})
		delete(c.sessions, s.id)
		delete(c.byNode, s.peer)
	}
	c.arrivals = nil
}
