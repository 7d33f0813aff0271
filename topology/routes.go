package topology

import (
	"cmp"
	"container/heap"
)

// Route is the best way to a node over confirmed edges.
type Route struct {
	Next NodeID // the neighbour to hand a message to
	Cost uint32 // sum of the edges' round-trip classes, in ms
	Hops uint8  // edges on the way; 255 stands for more
}

// compare orders routes: the cheaper, then the shorter, then the one whose neighbour has the lower id.
func (r Route) compare(o Route) int {
	return cmp.Or(cmp.Compare(r.Cost, o.Cost), cmp.Compare(r.Hops, o.Hops), r.Next.Compare(o.Next))
}

// over returns r made longer by an edge.
func (r Route) over(class uint8) Route {
	r.Cost += weight(class)
	if r.Hops < 255 {
		r.Hops++
	}
	return r
}

// Routes returns the best route from self to every node that confirmed edges lead to, without self. It is a pure
// function of the graph: equal graphs give equal routes. Since every edge costs the same in both directions and never
// nothing, following Next from node to node comes nearer with each hop and cannot loop.
func (g *Graph) Routes(self NodeID) map[NodeID]Route {
	done := map[NodeID]Route{}
	best := map[NodeID]Route{}
	todo := frontier{}
	extend := func(at NodeID, way func(peer NodeID) Route) {
		r := g.Get(at)
		if r == nil {
			return
		}
		for _, e := range r.Edges {
			if e.Peer == self {
				continue
			}
			if _, ok := done[e.Peer]; ok {
				continue
			}
			class, ok := g.confirmed(at, e.Peer)
			if !ok {
				continue
			}
			route := way(e.Peer).over(class)
			if old, ok := best[e.Peer]; !ok || route.compare(old) < 0 {
				best[e.Peer] = route
				heap.Push(&todo, candidate{e.Peer, route})
			}
		}
	}
	extend(self, func(peer NodeID) Route { return Route{Next: peer} })
	for len(todo) > 0 {
		c := heap.Pop(&todo).(candidate)
		if _, ok := done[c.id]; ok {
			continue
		}
		done[c.id] = c.route
		extend(c.id, func(NodeID) Route { return c.route })
	}
	return done
}

// candidate is a node with a way to it that may not be the best.
type candidate struct {
	id    NodeID
	route Route
}

// frontier is a heap of candidates, the best on top.
type frontier []candidate

func (f frontier) Len() int           { return len(f) }
func (f frontier) Less(i, j int) bool { return f[i].route.compare(f[j].route) < 0 }
func (f frontier) Swap(i, j int)      { f[i], f[j] = f[j], f[i] }
func (f *frontier) Push(x any)        { *f = append(*f, x.(candidate)) }
func (f *frontier) Pop() any {
	last := len(*f) - 1
	c := (*f)[last]
	*f = (*f)[:last]
	return c
}
