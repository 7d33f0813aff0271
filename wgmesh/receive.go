package wgmesh

import (
	"github.com/weavewg/weavewg/topology"
)

// received handles a message of a session. Whatever does not fit is dropped with a note: a peer that is wrong about
// one thing keeps its session.
func (c *Core) received(e Received) {
	s := c.sessions[e.ID]
	if s == nil {
		return // it was closed while the message was under way
	}
	s.heard = c.now
	m := e.Message
	switch {
	case m.Ping != nil:
		c.do(Send{s.id, topology.Message{Pong: &topology.Ping{Nonce: m.Ping.Nonce, Graph: c.graph.Hash()}}})
	case m.Pong != nil:
		c.pong(s, m.Pong)
	case m.PSK != nil:
		c.takePSK(s, m.PSK)
	case m.Seen != nil:
		c.takeSeen(s, m.Seen.Endpoint)
	case m.Bye != nil:
		if m.Bye.Full {
			c.contacts.full(c.now, s.peer)
		}
		c.drop(s, "the peer closed: "+m.Bye.Reason)
	case s.routed:
		// Gossip and routing run over direct sessions only.
	case m.Digest != nil:
		for _, answer := range s.compare.Missing(c.graph, m.Digest) {
			c.do(Send{s.id, answer})
		}
	case m.Records != nil:
		c.takeRecords(s, m.Records)
	case m.Routed != nil:
		c.route(*m.Routed, s.id)
	case m.Forget != nil:
		c.takeForget(s, *m.Forget)
	}
}

func (c *Core) pong(s *session, p *topology.Ping) {
	if p.Nonce != s.nonce || s.nonce == 0 {
		return
	}
	s.nonce = 0
	rtt := c.now.Sub(s.pinged)
	if s.rtt == 0 {
		s.rtt = rtt
	} else {
		s.rtt += (rtt - s.rtt) / 8
	}
	if s.routed {
		return
	}
	if p.Graph == c.graph.Hash() {
		s.differs = 0
		return
	}
	if s.differs++; s.differs >= 2 { // once is news under way; twice in a row is drift
		s.differs = 0
		for _, m := range c.graph.Digest() {
			c.do(Send{s.id, m})
		}
	}
}

// takeSeen keeps where a peer sees our slot; it goes into our own record, so that others may try it.
func (c *Core) takeSeen(s *session, e topology.Endpoint) {
	if e.Slot != 0 || !e.Addr.IsValid() || topology.CheckUnderlay(e.Addr.Addr()) != nil {
		return
	}
	if c.observed[s.peer] != e {
		c.observed[s.peer] = e
		c.touch()
	}
}

func (c *Core) takePSK(s *session, step *topology.PSKStep) {
	s.used = c.now
	l := c.links[s.peer]
	if l == nil {
		c.note(Debug, "psk-refused", s.peer, "no link to it: no network in common, or its record is not here yet")
		return
	}
	ok, why := l.takePSK(c.now, s, step, c.self, c.slot.public)
	if !ok {
		c.note(Debug, "psk-refused", s.peer, why)
		return
	}
	c.relink = true
}

// route carries a piece of a routed stream one step further, or hands it to its end here. A piece never goes back to
// where it came from, and its hops are bounded, so views that differ for a moment cannot make it circle for long.
func (c *Core) route(p topology.Routed, from SessionID) {
	if p.To == c.self {
		if p.From != c.self {
			c.do(DeliverRouted{p})
		}
		return
	}
	if from == 0 {
		p.Hops = topology.MaxHops
	}
	r, ok := c.routes[p.To]
	if !ok || p.Hops == 0 {
		return // the ends notice by silence
	}
	next := c.sessionWith(r.Next)
	if next == nil || next.routed || next.id == from {
		return
	}
	p.Hops--
	c.do(Send{next.id, topology.Message{Routed: &p}})
}
