package sim

import (
	"github.com/weavewg/weavewg/wgmesh"
)

// everyPair says whether ok holds for what each node sees of each other; it looks first at the pair that failed last.
type everyPair struct {
	world *World
	ok    func(n *Node, p wgmesh.PeerView) bool
	among func(i int) bool // nil: all
	stuck int
}

func (q *everyPair) holds() bool {
	nodes := q.world.Nodes
	for k := range nodes {
		i := (q.stuck + k) % len(nodes)
		if q.among != nil && !q.among(i) {
			continue
		}
		if !q.node(nodes[i]) {
			q.stuck = i
			return false
		}
	}
	return true
}

func (q *everyPair) node(n *Node) bool {
	want := 0
	for i := range q.world.Nodes {
		if i != n.index && (q.among == nil || q.among(i)) {
			want++
		}
	}
	for _, p := range n.core.View().Peers {
		far := q.world.byID[p.ID]
		if far == nil || q.among != nil && !q.among(far.index) {
			continue
		}
		if !q.ok(n, p) {
			return false
		}
		want--
	}
	return want == 0
}

// known: the record is there.
func known(*Node, wgmesh.PeerView) bool { return true }

// present: control reaches it.
func present(_ *Node, p wgmesh.PeerView) bool { return p.Control }

// linked: the tunnel carries frames.
func linked(_ *Node, p wgmesh.PeerView) bool { return p.State == wgmesh.LinkUp }

// equal says whether all nodes know the same.
func (w *World) equal() bool {
	first := w.Nodes[0].core.View().Graph
	for _, n := range w.Nodes[1:] {
		if n.core.View().Graph != first {
			return false
		}
	}
	return true
}

// pairsUp counts the ordered pairs whose first node's link to the second is up, of all and of those among.
func (w *World) pairsUp(among func(i int) bool) (up, all int) {
	for i, n := range w.Nodes {
		if !among(i) {
			continue
		}
		for _, p := range n.core.View().Peers {
			if far := w.byID[p.ID]; far != nil && among(far.index) {
				all++
				if linked(n, p) {
					up++
				}
			}
		}
	}
	return up, all
}

// edges lists the direct sessions whose ends are both open, by the indices of their nodes, the lower first.
func (w *World) edges(among func(i int) bool) map[[2]int]bool {
	out := map[[2]int]bool{}
	for i, n := range w.Nodes {
		for _, e := range n.ends {
			if j := e.far.node.index; i < j && e.far.open && among(i) && among(j) {
				out[[2]int{i, j}] = true
			}
		}
	}
	return out
}
