package topology

import (
	"bytes"
	"slices"
)

// Outcome is what a record meant to a graph.
type Outcome uint8

// The outcomes of Merge.
const (
	New          Outcome = iota + 1 // a node that was not known
	Newer                           // replaced an older record
	Same                            // known already
	Older                           // a newer record is known
	Conflict                        // same version, other body, and it won: two nodes have one identity
	ConflictLost                    // same version, other body, and the known one stays
	Forgotten                       // not above the floor of a forgotten node
	Full                            // a node that was not known, and there is no room
)

func (o Outcome) String() string {
	switch o {
	case New:
		return "new"
	case Newer:
		return "newer"
	case Same:
		return "same"
	case Older:
		return "older"
	case Conflict:
		return "conflict"
	case ConflictLost:
		return "conflict lost"
	case Forgotten:
		return "forgotten"
	case Full:
		return "full"
	}
	return "no outcome"
}

// News says whether the graph changed, so that the record must be told on.
func (o Outcome) News() bool { return o == New || o == Newer || o == Conflict }

// Clash says whether two nodes seem to have one identity: each wrote a record of the same version.
func (o Outcome) Clash() bool { return o == Conflict || o == ConflictLost }

// Merge takes in a record that a Notary opened. Of two records of one version the one whose body is the greater string
// of bytes wins everywhere. Below its limit the graph is a join-semilattice: order and repetition do not matter.
func (g *Graph) Merge(s Sealed, r *Record) Outcome {
	id := r.ID()
	if floor, ok := g.floors[id]; ok && !floor.Less(r.Version) {
		return Forgotten
	}
	old, ok := g.nodes[id]
	outcome := New
	switch {
	case !ok && len(g.nodes) >= g.limit:
		return Full
	case !ok:
	case old.record.Version.Less(r.Version):
		outcome = Newer
	case r.Version.Less(old.record.Version):
		return Older
	default:
		switch bytes.Compare(old.sealed.Body, s.Body) {
		case 0:
			return Same
		case 1:
			return ConflictLost
		}
		outcome = Conflict
	}
	if outcome == New {
		at, _ := slices.BinarySearchFunc(g.order, id, NodeID.Compare)
		g.order = slices.Insert(g.order, at, id)
	}
	h := hashOf(id, r.Version, s.Body)
	g.hash ^= old.hash ^ h
	g.nodes[id] = known{sealed: s, record: r, hash: h}
	return outcome
}

// Drop forgets a node up to a version: its record goes unless it is newer, and none up to floor comes back. It reports
// whether the floor rose, so that the request must be told on; it does not when floors are full.
func (g *Graph) Drop(id NodeID, floor Version) bool {
	old, ok := g.floors[id]
	if ok && !old.Less(floor) || !ok && len(g.floors) >= g.limit {
		return false
	}
	g.floors[id] = floor
	if k, ok := g.nodes[id]; ok && !floor.Less(k.record.Version) {
		g.hash ^= k.hash
		delete(g.nodes, id)
		at, _ := slices.BinarySearchFunc(g.order, id, NodeID.Compare)
		g.order = slices.Delete(g.order, at, at+1)
	}
	return true
}

// Floor returns the version up to which records of id stay out.
func (g *Graph) Floor(id NodeID) (Version, bool) {
	v, ok := g.floors[id]
	return v, ok
}

// Floors returns all floors; the map must not be changed.
func (g *Graph) Floors() map[NodeID]Version { return g.floors }
