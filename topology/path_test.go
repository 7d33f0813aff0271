package topology

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// slowPath tries every way without a circle.
func slowPath(g *Graph, from, to NodeID, most int, relays func(NodeID) bool) (best Route, ok bool) {
	var walk func(at NodeID, way Route, passed []NodeID)
	walk = func(at NodeID, way Route, passed []NodeID) {
		for _, next := range g.IDs() {
			class, confirmed := g.confirmed(at, next)
			if !confirmed || slices.Contains(passed, next) || next == from {
				continue
			}
			on := way.over(class)
			switch {
			case next == to:
				if len(passed) > 0 && (!ok || on.compare(best) < 0) {
					best, ok = on, true
				}
			case relays(next) && len(passed) < most:
				walk(next, on, append(slices.Clone(passed), next))
			}
		}
	}
	walk(from, Route{}, nil)
	return best, ok
}

func TestPathAgainstSlowTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := genGraph(t)
		from, to := nodeID(rapid.IntRange(0, 7).Draw(t, "from")), nodeID(rapid.IntRange(8, 13).Draw(t, "to"))
		deaf := rapid.SliceOfN(rapid.Bool(), 14, 14).Draw(t, "do not relay")
		relays := func(id NodeID) bool {
			for i, no := range deaf {
				if nodeID(i) == id {
					return !no
				}
			}
			return false
		}
		most := rapid.SampledFrom([]int{2, 14}).Draw(t, "most")
		via := g.Path(from, to, most, relays)
		want, ok := slowPath(g, from, to, most, relays)
		if most == 14 && ok != (via != nil) {
			t.Fatalf("via %v, the slow twin found one: %v (%v)", via, ok, want)
		}
		if via == nil {
			return
		}
		way, at := Route{}, from
		for i, id := range append(slices.Clone(via), to) {
			class, confirmed := g.confirmed(at, id)
			if !confirmed || id != to && (!relays(id) || id == from || slices.Contains(via[:i], id)) {
				t.Fatalf("via %v: from %v to %v leads no way", via, at, id)
			}
			way, at = way.over(class), id
		}
		if len(via) == 0 || len(via) > most || most == 14 && way.compare(want) != 0 {
			t.Fatalf("via %v costs %v, the slow twin found %v", via, way, want)
		}
	})
}

// Two who have a session all the same, because only UDP is blocked between them, get a relay.
func TestPathAvoidsTheEdgeItself(t *testing.T) {
	g := NewGraph(MaxNodes)
	all := [][]Edge{{{nodeID(1), 0}, {nodeID(2), 9}}, {{nodeID(0), 0}, {nodeID(2), 9}}, {{nodeID(0), 9}, {nodeID(1), 9}}}
	for i, edges := range all {
		r := nodeRecord(i, Version{1, 1}, edges...)
		g.Merge(sealedOf(t, r), r)
	}
	everybody := func(NodeID) bool { return true }
	if via := g.Path(nodeID(0), nodeID(1), MaxVia, everybody); !slices.Equal(via, []NodeID{nodeID(2)}) {
		t.Errorf("via %v, want %v", via, nodeID(2))
	}
	if via := g.Path(nodeID(0), nodeID(1), MaxVia, func(NodeID) bool { return false }); via != nil {
		t.Errorf("via %v, which do not relay", via)
	}
}
