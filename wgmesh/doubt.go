package wgmesh

import (
	"slices"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// doubtTime is how long a neighbour whose tunnel or relay just died has to show that it lives. Until then its session is
// not ended, which only long silence does, but routes lead around it.
const doubtTime = 700 * time.Millisecond

// doubt asks a neighbour at once whether it lives.
func (c *Core) doubt(id topology.NodeID) {
	s := c.sessionWith(id)
	if s == nil || s.routed || !s.doubt.IsZero() {
		return
	}
	s.doubt = c.now
	s.pinged, s.nonce = c.now, c.rng.Uint64()|1
	c.do(Send{s.id, topology.Message{Ping: &topology.Ping{Nonce: s.nonce, Graph: c.graph.Hash()}}})
	c.wakeAt(c.now.Add(doubtTime))
}

// doubted says that a neighbour was asked and does not answer.
func (c *Core) doubted(id topology.NodeID) bool {
	s := c.sessionWith(id)
	return s != nil && !s.doubt.IsZero() && !s.heard.After(s.doubt) && c.now.Sub(s.doubt) >= doubtTime
}

// tendDoubts leads routes around the neighbours that do not answer, and back once they do. Routed sessions whose pieces go
// by such a neighbour are given up: their ends find each other by another one.
func (c *Core) tendDoubts() {
	if !slices.ContainsFunc(c.arrivals, func(s *session) bool { return !s.doubt.IsZero() }) {
		return
	}
	for _, s := range c.bySession() {
		switch {
		case s.doubt.IsZero():
		case s.heard.After(s.doubt):
			s.doubt = time.Time{}
			if s.avoided {
				s.avoided, c.stale = false, true
				c.wakeAt(c.now)
			}
		case !s.avoided && c.doubted(s.peer):
			s.avoided = true
			c.routes = c.graph.Routes(c.self, c.avoided)
			c.unsettled = true
			for _, r := range c.bySession() {
				if r.routed && r.by == s.peer {
					c.drop(r, c.name(s.peer)+", by which it went, does not answer")
					if l := c.links[r.peer]; l != nil {
						l.nextRouted = c.now
					}
				}
			}
		}
	}
}

func (c *Core) avoided(id topology.NodeID) bool {
	s := c.sessionWith(id)
	return s != nil && s.avoided
}
