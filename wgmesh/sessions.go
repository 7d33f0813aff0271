package wgmesh

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// session is a control session with a peer: over TCP of its own (direct), or routed as ciphertext by neighbours. Only
// direct sessions carry gossip and count as edges.
type session struct {
	id      SessionID
	peer    topology.NodeID
	dialled bool
	target  string
	remote  netip.AddrPort
	routed  bool
	export  [32]byte

	up, heard time.Time
	pinged    time.Time
	nonce     uint64 // of the ping under way; 0: none
	rtt       time.Duration
	cost      topology.CostKeeper
	compare   topology.Compare  // answers the peer's digests
	differs   int               // pongs in a row that told of another graph
	told      topology.Endpoint // the last Seen that we sent
	used      time.Time         // when a routed session last carried something of use
	refused   int               // news that were not valid
	refusedAt time.Time         // when that was last written about
}

const (
	pingEvery    = 5 * time.Second
	silence      = 16 * time.Second // a session that says nothing for so long is over: three pings were lost
	routedLinger = time.Minute      // an unused routed session is closed
)

func (c *Core) sessionUp(e SessionUp) {
	rec, err := c.notary.Open(e.Record)
	if err != nil || rec.ID() != e.Peer { // the edge checked it; a core never trusts
		c.do(CloseSession{e.ID, "its record is not valid"})
		return
	}
	s := &session{
		id: e.ID, peer: e.Peer, dialled: e.Dialled, target: e.Target, remote: e.Remote, routed: e.Routed, export: e.Export,
		up: c.now, heard: c.now, used: c.now,
	}
	if s.dialled && s.target != "" {
		c.contacts.reached(c.now, s.target, s.peer)
	}
	if !c.prefer(s) {
		c.do(CloseSession{s.id, "duplicate: another session between us stays"})
		return
	}
	c.sessions[s.id] = s
	c.byNode[s.peer] = s
	c.arrivals = append(c.arrivals, s)
	c.present[s.peer] = c.now
	c.merge(e.Record, rec, s.id)
	if !s.routed {
		c.touch()
		for _, m := range c.graph.Digest() {
			c.do(Send{s.id, m})
		}
		c.note(Info, "session-up", s.peer, "control session with "+s.remote.String())
	}
	c.wakeAt(c.now)
	if l := c.links[s.peer]; l != nil {
		l.nextRouted = c.now
	}
	if c.holdUntil.IsZero() {
		c.holdUntil = c.now.Add(holdTime)
	}
}

// prefer decides between sessions with the same peer: of direct ones the one dialled by the lower id wins, so that both
// ends keep the same; of two from the same dialler the newer, since its dialler gave the older one up. It closes losers
// and says whether s stays. A direct session replaces a routed one.
func (c *Core) prefer(s *session) bool {
	for _, old := range c.bySession() {
		if old.peer != s.peer {
			continue
		}
		switch {
		case old.routed && !s.routed:
			c.drop(old, "a direct session took over")
		case !old.routed && s.routed:
			return false
		case old.dialled == s.dialled || c.dialledByLower(s):
			c.drop(old, "duplicate: another session between us stays")
		default:
			return false
		}
	}
	return true
}

func (c *Core) dialledByLower(s *session) bool {
	return s.dialled == (c.self.Compare(s.peer) < 0)
}

func (c *Core) sessionDown(e SessionDown) {
	s := c.sessions[e.ID]
	if s == nil {
		return
	}
	delete(c.sessions, e.ID)
	delete(c.byNode, s.peer)
	c.arrivals = slices.DeleteFunc(c.arrivals, func(o *session) bool { return o == s })
	c.contacts.lost(c.now, s, e.Reason)
	if !s.routed {
		c.touch()
		c.note(Info, "session-down", s.peer, e.Reason)
	}
}

// drop ends a session from our side.
func (c *Core) drop(s *session, reason string) {
	c.do(CloseSession{s.id, reason})
	c.sessionDown(SessionDown{s.id, reason})
}

// tendSessions pings, ends what is silent, sheds what is too much, and tells peers where we see them.
func (c *Core) tendSessions() {
	for _, s := range c.bySession() {
		if c.now.Sub(s.heard) > silence {
			c.drop(s, "silent for "+silence.String())
			continue
		}
		if s.routed && s.dialled && c.now.Sub(s.used) > routedLinger {
			c.drop(s, "no longer needed")
			continue
		}
		if c.now.Sub(s.pinged) > pingEvery-settleEvery/2 { // not to the moment: all sessions in one step
			s.pinged, s.nonce = c.now, c.rng.Uint64()|1
			c.do(Send{s.id, topology.Message{Ping: &topology.Ping{Nonce: s.nonce, Graph: c.graph.Hash()}}})
		}
		if !s.routed && s.rtt > 0 && s.cost.Update(s.rtt, c.now) {
			c.touch()
		}
		c.tell(s)
	}
	c.shed()
}

// tell lets the peer know at which endpoint its slot reaches us, once a handshake has proved it.
func (c *Core) tell(s *session) {
	l := c.links[s.peer]
	if l == nil || l.state != LinkUp {
		return
	}
	seen := topology.Endpoint{Slot: l.tunnel.peerSlot, Addr: l.tunnel.endpoint}
	if seen != s.told && seen.Addr.IsValid() {
		s.told = seen
		c.do(Send{s.id, topology.Message{Seen: &topology.Seen{Endpoint: seen}}})
	}
}

// shed ends sessions above the bound, newest unwanted first: their peers know others by now.
func (c *Core) shed() {
	direct := c.direct()
	if len(direct) <= topology.MaxNeighbours {
		return
	}
	held := make([]topology.Held, 0, len(direct))
	for _, s := range direct {
		held = append(held, topology.Held{Peer: s.peer, Since: s.up})
	}
	wanted := c.wanted()
	for _, id := range topology.Shed(held, func(id topology.NodeID) bool { return slices.Contains(wanted, id) }) {
		s := c.sessionWith(id)
		if s == nil || c.now.Sub(s.up) < shedAfter {
			continue
		}
		c.contacts.full(c.now, id)
		c.do(Send{s.id, topology.Message{Bye: &topology.Bye{Reason: "enough neighbours", Full: true}}})
		c.drop(s, "enough neighbours")
	}
}

// shedAfter leaves a newcomer time to learn whom else it can talk to.
const shedAfter = 2 * time.Second

// bySession lists sessions in the order in which they came up.
func (c *Core) bySession() []*session { return slices.Clone(c.arrivals) }

func (c *Core) direct() []*session {
	return slices.DeleteFunc(c.bySession(), func(s *session) bool { return s.routed })
}

// sessionWith is the session with a peer, direct or routed, or nil. There is at most one: see prefer.
func (c *Core) sessionWith(id topology.NodeID) *session { return c.byNode[id] }
