package topology

import (
	"cmp"
	"slices"
	"time"
)

// Half of the neighbours that a node chooses in a mesh too large to have all: one per distance in each direction of the
// ring. Two places of MaxNeighbours stay free for those who choose us instead of somebody they cannot reach.
const ringDistances = (MaxNeighbours - 2) / 2

// Neighbours chooses whom a node should hold control sessions with. All holds the ids of all live nodes, with or
// without self, in any order; failing says who could not be reached for some tries.
//
// Up to MaxNeighbours+1 nodes it is everybody. Above, the nodes are a ring in order of their ids, and the choice is the
// nodes at fixed distances on both sides: 1, then growing geometrically to half the ring, so that the mesh is connected
// and a few hops wide. Both ends choose each other. A failing node is replaced by the next one on the ring in the same
// direction, so that a hole does not part the ring; it stays in the choice of those who reach it.
func Neighbours(self NodeID, all []NodeID, failing func(NodeID) bool) []NodeID {
	ring := slices.Clone(all)
	ring = append(ring, self)
	slices.SortFunc(ring, NodeID.Compare)
	ring = slices.Compact(ring)
	n := len(ring)
	at, _ := slices.BinarySearchFunc(ring, self, NodeID.Compare)
	if n <= MaxNeighbours+1 {
		return slices.Delete(ring, at, at+1)
	}
	chosen := map[NodeID]bool{self: true}
	for _, d := range distances(n) {
		for _, step := range []int{1, n - 1} { // forward, backward
			place := at + d*step
			// At half of an even ring both directions meet: one choice, not a second one beside it.
			if d*2 == n && step != 1 {
				continue
			}
			for range n {
				id := ring[place%n]
				if !chosen[id] && !failing(id) {
					chosen[id] = true
					break
				}
				place += step
			}
		}
	}
	delete(chosen, self)
	return slices.DeleteFunc(ring, func(id NodeID) bool { return !chosen[id] })
}

// distances returns ringDistances different distances from 1 to n/2, in geometric progression as far as integers can.
// It counts in sixteenths and without floating point, so that all nodes agree.
func distances(n int) []int {
	for ratio := 16; ; ratio++ {
		ds := []int{1}
		for len(ds) < ringDistances {
			last := ds[len(ds)-1]
			ds = append(ds, max(last+1, last*ratio/16))
		}
		if ds[len(ds)-1] >= n/2 {
			ds[len(ds)-1] = n / 2
			return ds
		}
	}
}

// Held is a control session that exists.
type Held struct {
	Peer  NodeID
	Since time.Time
}

// While fewer than enoughWanted chosen neighbours are up, a node holds up to crowd sessions: it may be the one that a
// whole mesh dials first, and those who came are its way to the rest.
const (
	enoughWanted = 3
	crowd        = 4 * MaxNeighbours
)

// Shed returns the sessions to end, so that at most MaxNeighbours stay, or crowd at the start: the newest that were not
// chosen first, and never a chosen one.
func Shed(held []Held, wanted func(NodeID) bool) []NodeID {
	var spare []Held
	for _, h := range held {
		if !wanted(h.Peer) {
			spare = append(spare, h)
		}
	}
	keep := MaxNeighbours
	if len(held)-len(spare) < enoughWanted {
		keep = crowd
	}
	slices.SortFunc(spare, func(a, b Held) int {
		return cmp.Or(b.Since.Compare(a.Since), a.Peer.Compare(b.Peer))
	})
	var out []NodeID
	for _, h := range spare[:max(0, min(len(held)-keep, len(spare)))] {
		out = append(out, h.Peer)
	}
	return out
}
