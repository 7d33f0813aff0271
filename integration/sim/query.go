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
