package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"iter"
	"slices"
)

// MaxNodes is how many records, and how many floors, a Graph keeps.
const MaxNodes = 4096

// Graph is what one node knows about all: for every node its newest record, and for every forgotten one the floor below
// which its records stay out. The same records merged in any order, any number of times, give the same graph. The zero
// Graph is not usable: see NewGraph.
type Graph struct {
	limit  int
	nodes  map[NodeID]known
	order  []NodeID // the keys of nodes, sorted
	floors map[NodeID]Version
	hash   uint64
}

// known is one record as it came and as it reads.
type known struct {
	sealed Sealed
	record *Record
	hash   uint64 // of id, version and body: its part of Graph.hash
}

// NewGraph returns an empty graph that takes at most limit nodes; MaxNodes is a good one.
func NewGraph(limit int) *Graph {
	return &Graph{limit: limit, nodes: map[NodeID]known{}, floors: map[NodeID]Version{}}
}

// Len is the number of records.
func (g *Graph) Len() int { return len(g.nodes) }

// Hash is equal for graphs with the same records, and for others only by accident (2^-64). It costs nothing: merges keep
// it up to date. An empty graph has 0.
func (g *Graph) Hash() uint64 { return g.hash }

// Get returns what is known about a node, or nil. The record must not be changed.
func (g *Graph) Get(id NodeID) *Record { return g.nodes[id].record }

// Sealed returns the record of id as it travels.
func (g *Graph) Sealed(id NodeID) (Sealed, bool) {
	k, ok := g.nodes[id]
	return k.sealed, ok
}

// IDs returns all nodes in order of their ids.
func (g *Graph) IDs() []NodeID { return slices.Clone(g.order) }

// All yields the records in order of their ids.
func (g *Graph) All() iter.Seq2[NodeID, *Record] {
	return func(yield func(NodeID, *Record) bool) {
		for _, id := range g.IDs() {
			if r := g.Get(id); r != nil && !yield(id, r) {
				return
			}
		}
	}
}

// Confirmed says whether there is a control session between a and b as far as the graph knows: both list it, and
// neither has left.
func (g *Graph) Confirmed(a, b NodeID) bool {
	_, ok := g.confirmed(a, b)
	return ok
}

// confirmed also returns the cost class on which both ends are: the higher of the two they state, so that it is the
// same in both directions.
func (g *Graph) confirmed(a, b NodeID) (uint8, bool) {
	ra, rb := g.Get(a), g.Get(b)
	if ra == nil || rb == nil || ra.Left || rb.Left {
		return 0, false
	}
	there, ok := ra.edge(b)
	if !ok {
		return 0, false
	}
	back, ok := rb.edge(a)
	return max(there, back), ok
}

// edge returns the cost class of the edge that r lists to peer.
func (r *Record) edge(peer NodeID) (uint8, bool) {
	for _, e := range r.Edges {
		if e.Peer == peer {
			return e.Cost, true
		}
	}
	return 0, false
}

// Reachable returns the nodes to which confirmed edges lead from self, and self.
func (g *Graph) Reachable(self NodeID) map[NodeID]bool {
	reached := map[NodeID]bool{self: true}
	for todo := []NodeID{self}; len(todo) > 0; {
		at := todo[0]
		todo = todo[1:]
		r := g.Get(at)
		if r == nil {
			continue
		}
		for _, e := range r.Edges {
			if !reached[e.Peer] && g.Confirmed(at, e.Peer) {
				reached[e.Peer] = true
				todo = append(todo, e.Peer)
			}
		}
	}
	return reached
}

// Absent returns, in order, the known nodes to which no confirmed edges lead from self.
func (g *Graph) Absent(self NodeID) []NodeID {
	reached := g.Reachable(self)
	return slices.DeleteFunc(g.IDs(), func(id NodeID) bool { return reached[id] })
}

// hashOf is a record's part of Graph.Hash.
func hashOf(id NodeID, v Version, body []byte) uint64 {
	b := make([]byte, 0, len(id)+16+len(body))
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, v.Epoch)
	b = binary.BigEndian.AppendUint64(b, v.Seq)
	sum := sha256.Sum256(append(b, body...))
	return binary.BigEndian.Uint64(sum[:8])
}
