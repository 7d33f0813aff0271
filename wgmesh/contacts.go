package wgmesh

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// contacts knows whom to dial and when: the targets that people named, and the nodes that the mesh's own shape wants as
// neighbours. A node is one contact however many addresses it has: they are tried in turn.
type contacts struct {
	targets *topology.Targets          // back-off; keys are addresses, or "id:<node>" for discovered nodes
	leads   map[string]topology.NodeID // which node a target turned out to be
	turn    map[topology.NodeID]int    // which address of a discovered node is next
	dialled map[string]string          // Dial.Target under way → key
	fullAt  map[topology.NodeID]time.Time
}

// fullFor is how long a node that said it has enough neighbours is left alone.
const fullFor = 30 * time.Second

func newContacts(rng *rand.Rand) contacts {
	return contacts{
		targets: topology.NewTargets(rng),
		leads:   map[string]topology.NodeID{},
		turn:    map[topology.NodeID]int{},
		dialled: map[string]string{},
		fullAt:  map[topology.NodeID]time.Time{},
	}
}

func nodeKey(id topology.NodeID) string { return "id:" + id.String() }

func keyNode(key string) (topology.NodeID, bool) {
	hex, ok := strings.CutPrefix(key, "id:")
	if !ok {
		return topology.NodeID{}, false
	}
	id, err := topology.ParseNodeID(hex)
	return id, err == nil
}

// retarget makes the set of named targets that of the configuration and of connect.
func (c *Core) retarget() {
	t := c.contacts.targets
	for _, old := range t.List() {
		if _, isNode := keyNode(old.Address); isNode {
			continue
		}
		if !slices.Contains(c.settings.Targets, old.Address) {
			t.Remove(old.Address, topology.FromConfig)
		}
		if !slices.Contains(c.state.Targets, old.Address) {
			t.Remove(old.Address, topology.FromConnect)
		}
	}
	for _, address := range c.settings.Targets {
		t.Add(address, topology.FromConfig, c.now)
	}
	for _, address := range c.state.Targets {
		t.Add(address, topology.FromConnect, c.now)
	}
}

func (c *Core) connect(targets []string) {
	for _, t := range targets {
		if !slices.Contains(c.state.Targets, t) {
			c.state.Targets = append(c.state.Targets, t)
		}
		c.contacts.targets.Add(t, topology.FromConnect, c.now)
		c.contacts.targets.Nudge(t, c.now)
	}
	c.do(Persist{c.state})
}

func (c *Core) forgetTargets(targets []string) {
	c.state.Targets = slices.DeleteFunc(c.state.Targets, func(t string) bool { return slices.Contains(targets, t) })
	c.retarget()
	c.do(Persist{c.state})
}

// tendContacts dials what is due.
func (c *Core) tendContacts() {
	if len(c.ownSealed.Body) == 0 {
		return // a hello needs our record
	}
	c.wantNeighbours()
	for _, key := range c.contacts.targets.Due(c.now) {
		target, hold := c.aimAt(key)
		if hold != "" {
			c.contacts.targets.Failed(key, hold, c.now)
			continue
		}
		if target == "" {
			c.contacts.targets.Connected(key, c.now)
			continue
		}
		c.contacts.dialled[target] = key
		c.do(Dial{target})
	}
	if next := c.contacts.targets.Next(); !next.IsZero() {
		c.wakeAt(next)
	}
}

// aimAt turns a due contact into the address to dial; an empty address means that there is nothing to do, hold why it has
// to wait.
func (c *Core) aimAt(key string) (target, hold string) {
	id, isNode := keyNode(key)
	if !isNode {
		id = c.contacts.leads[key]
		if !id.IsZero() && (c.sessionIsDirect(id) || c.contacts.isFull(c.now, id) && len(c.direct()) >= 3) {
			return "", ""
		}
		target = key
	} else {
		if c.sessionIsDirect(id) {
			return "", ""
		}
		addrs := c.controlAddrs(id)
		if len(addrs) == 0 {
			return "", "no address known"
		}
		target = addrs[c.contacts.turn[id]%len(addrs)]
		c.contacts.turn[id]++
	}
	if _, busy := c.contacts.dialled[target]; busy {
		return "", "already being dialled"
	}
	return target, ""
}

func (c *Core) sessionIsDirect(id topology.NodeID) bool {
	s := c.sessionWith(id)
	return s != nil && !s.routed
}

// wanted is the set of neighbours that the mesh's shape gives us; nodes that cannot be reached are substituted.
func (c *Core) wanted() []topology.NodeID {
	if c.chosen == nil {
		all := slices.DeleteFunc(c.graph.IDs(), func(id topology.NodeID) bool { return c.graph.Get(id).Left })
		c.chosen = topology.Neighbours(c.self, all, func(id topology.NodeID) bool {
			return c.contacts.hopeless(id) && !c.sessionIsDirect(id)
		})
	}
	return c.chosen
}

// ringDelay is how long a node must be wanted before it is dialled, in a mesh where not all are neighbours: while many
// nodes start at once, every one that becomes known changes the choice.
const ringDelay = 500 * time.Millisecond

// wantNeighbours keeps the discovered contacts those that the mesh's shape asks for.
func (c *Core) wantNeighbours() {
	wanted := c.wanted()
	for _, t := range c.contacts.targets.List() {
		if id, ok := keyNode(t.Address); ok && !slices.Contains(wanted, id) {
			if rec := c.graph.Get(id); rec == nil || rec.Left || !c.contacts.hopeless(id) {
				c.contacts.targets.Remove(t.Address, topology.Discovered) // a hopeless one stays, so that its recovery is noticed
			}
		}
	}
	for _, id := range wanted {
		if c.sessionIsDirect(id) || c.contacts.isFull(c.now, id) {
			continue
		}
		start := c.now
		if c.self.Compare(id) > 0 {
			start = start.Add(300 * time.Millisecond) // the lower id dials first: two sessions at once are one too many
		}
		if c.graph.Len() > topology.MaxNeighbours+1 {
			start = start.Add(ringDelay)
		}
		c.contacts.targets.Add(nodeKey(id), topology.Discovered, start)
	}
}

// controlAddrs lists where a node's control port may be, best first.
func (c *Core) controlAddrs(id topology.NodeID) []string {
	rec := c.graph.Get(id)
	if rec == nil {
		return nil
	}
	port := strconv.Itoa(int(rec.Port))
	var list []string
	add := func(a netip.Addr) {
		if t := net.JoinHostPort(a.Unmap().String(), port); !slices.Contains(list, t) {
			list = append(list, t)
		}
	}
	for _, a := range rec.Addrs {
		if !slices.Contains(c.addresses, a) { // our own address: another namespace or a NAT's inside, never the peer
			add(a)
		}
	}
	for _, e := range rec.Seen {
		add(e.Addr.Addr())
	}
	return list
}

func (c *Core) dialFailed(e DialFailed) {
	if e.Target == "" {
		if l := c.links[e.Peer]; l != nil {
			l.routedFailed(c.now, e.Reason)
		}
		return
	}
	key, ok := c.contacts.dialled[e.Target]
	if !ok {
		return
	}
	delete(c.contacts.dialled, e.Target)
	switch e.Kind {
	case DialSelf:
		for _, source := range []topology.Source{topology.FromConfig, topology.FromConnect, topology.Discovered} {
			c.contacts.targets.Remove(key, source)
		}
		c.note(Warn, "target-is-self", c.self, e.Target+" is this node itself: dropped from the targets of this run")
		return
	case DialDuplicate:
		c.note(Error, "duplicate-identity", e.Peer, e.Reason)
	}
	if !e.Peer.IsZero() && e.Peer != c.self {
		c.contacts.leads[key] = e.Peer
	}
	c.contacts.targets.Failed(key, e.Reason, c.now)
	c.note(Debug, "dial-failed", e.Peer, fmt.Sprintf("%s: %s", e.Target, e.Reason))
}

// reached books a dial that became a session.
func (t *contacts) reached(now time.Time, target string, peer topology.NodeID) {
	key, ok := t.dialled[target]
	if !ok {
		return
	}
	delete(t.dialled, target)
	if _, isNode := keyNode(key); !isNode {
		t.leads[key] = peer
	}
	t.targets.Connected(key, now)
	if t.turn[peer] > 0 {
		t.turn[peer]-- // the address that worked is the first next time
	}
	delete(t.fullAt, peer)
}

// lost makes the contacts of a peer whose session ended due again, soon.
func (t *contacts) lost(now time.Time, s *session, reason string) {
	for key, id := range t.leads {
		if id == s.peer {
			t.targets.Lost(key, reason, now)
		}
	}
	t.targets.Lost(nodeKey(s.peer), reason, now)
}

// nudge tries a node at once: somebody has just heard from it.
func (t *contacts) nudge(now time.Time, id topology.NodeID) {
	t.targets.Nudge(nodeKey(id), now)
	for key, lead := range t.leads {
		if lead == id {
			t.targets.Nudge(key, now)
		}
	}
}

func (t *contacts) full(now time.Time, id topology.NodeID) {
	t.fullAt[id] = now
	t.targets.Remove(nodeKey(id), topology.Discovered)
}

// forget drops what is kept about a node that left the mesh for good.
func (t *contacts) forget(id topology.NodeID) {
	maps.DeleteFunc(t.leads, func(_ string, lead topology.NodeID) bool { return lead == id })
	delete(t.turn, id)
	delete(t.fullAt, id)
}

func (t *contacts) isFull(now time.Time, id topology.NodeID) bool {
	at, ok := t.fullAt[id]
	return ok && now.Sub(at) < fullFor
}

// hopeless says that a node could not be reached for several tries.
func (t *contacts) hopeless(id topology.NodeID) bool {
	target, ok := t.targets.Get(nodeKey(id))
	return ok && target.Tries >= 3
}
