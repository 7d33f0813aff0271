package topology

import (
	"container/heap"
	"slices"
)

// Path returns the cheapest way over confirmed edges from one node to another that passes nodes which relay, at least one,
// at most so many, and each once; nil: there is none. What is between the two is returned, in order. An edge between the two
// themselves is no such way: control has it, and a tunnel by relays is wanted because UDP does not pass there.
func (g *Graph) Path(from, to NodeID, most int, relays func(NodeID) bool) []NodeID {
	type step struct {
		route  Route
		before NodeID
	}
	best, done := map[NodeID]step{from: {}}, map[NodeID]bool{}
	todo := frontier{{from, Route{}}}
	for len(todo) > 0 {
		c := heap.Pop(&todo).(candidate)
		if done[c.id] {
			continue
		}
		done[c.id] = true
		if c.id == to {
			break
		}
		if c.id != from && (!relays(c.id) || int(c.route.Hops) > most) {
			continue
		}
		r := g.Get(c.id)
		if r == nil {
			continue
		}
		for _, e := range r.Edges {
			class, ok := g.confirmed(c.id, e.Peer)
			if !ok || done[e.Peer] || c.id == from && e.Peer == to {
				continue
			}
			route := c.route.over(class)
			if old, ok := best[e.Peer]; !ok || route.compare(old.route) < 0 {
				best[e.Peer] = step{route, c.id}
				heap.Push(&todo, candidate{e.Peer, route})
			}
		}
	}
	if !done[to] {
		return nil
	}
	var via []NodeID
	for at := best[to].before; at != from; at = best[at].before {
		via = append(via, at)
	}
	slices.Reverse(via)
	return via
}
