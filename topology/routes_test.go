package topology

import (
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// genGraph draws a graph of up to 14 nodes in which some edges are stated by one end only, some nodes have left and
// some are named but not known.
func genGraph(t *rapid.T) *Graph {
	n := rapid.IntRange(1, 14).Draw(t, "nodes")
	density := rapid.IntRange(1, 6).Draw(t, "density")
	edges := make([][]Edge, n+1)
	for i := range n {
		for j := range i {
			switch kind := rapid.IntRange(0, 9).Draw(t, "edge"); {
			case kind < density:
				class := rapid.IntRange(0, 3)
				edges[i] = append(edges[i], Edge{nodeID(j), uint8(class.Draw(t, "there"))})
				edges[j] = append(edges[j], Edge{nodeID(i), uint8(class.Draw(t, "back"))})
			case kind == 9:
				edges[i] = append(edges[i], Edge{nodeID(j), 0})
			}
		}
	}
	g := NewGraph(MaxNodes)
	for i := range n {
		if rapid.IntRange(0, 19).Draw(t, "unknown") == 0 {
			continue
		}
		r := nodeRecord(i, Version{1, 1}, edges[i]...)
		r.Left = rapid.IntRange(0, 19).Draw(t, "left") == 0
		g.Merge(sealedOf(t, r), r)
	}
	return g
}

// slowRoutes is Bellman–Ford over all pairs of nodes: it relaxes everything until nothing changes.
func slowRoutes(g *Graph, self NodeID) map[NodeID]Route {
	best := map[NodeID]Route{}
	for changed := true; changed; {
		changed = false
		for _, a := range g.IDs() {
			for _, b := range g.IDs() {
				class, ok := g.confirmed(a, b)
				if !ok || b == self {
					continue
				}
				way, ok := best[a]
				if a == self {
					way, ok = Route{Next: b}, true
				}
				if !ok {
					continue
				}
				way = way.over(class)
				if old, known := best[b]; !known || way.compare(old) < 0 {
					best[b], changed = way, true
				}
			}
		}
	}
	return best
}

func TestRoutesAgainstSlowTwin(t *testing.T) {
	for range 20 { // rapid's default is 100 graphs a check
		rapid.Check(t, func(t *rapid.T) {
			g := genGraph(t)
			for _, self := range g.IDs() {
				if got, want := g.Routes(self), slowRoutes(g, self); !maps.Equal(got, want) {
					t.Fatalf("routes of %s: %v, want %v", self.Short(), got, want)
				}
			}
		})
	}
}

func TestRoutesLeadThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := genGraph(t)
		routes := map[NodeID]map[NodeID]Route{}
		for _, id := range g.IDs() {
			routes[id] = g.Routes(id)
		}
		for from, to := range routes {
			if len(to)+1 != len(g.Reachable(from)) {
				t.Fatalf("%d routes, %d reachable", len(to), len(g.Reachable(from)))
			}
			for target, route := range to {
				cost := route.Cost
				for at := route.Next; at != target; at = routes[at][target].Next {
					next, ok := routes[at][target]
					if !ok || next.Cost >= cost {
						t.Fatalf("from %s to %s: at %s the cost goes from %d to %d (%v)",
							from.Short(), target.Short(), at.Short(), cost, next.Cost, ok)
					}
					cost = next.Cost
				}
			}
		}
	})
}

func TestRoutesOfALine(t *testing.T) {
	g := NewGraph(MaxNodes)
	for i := range 300 {
		var edges []Edge
		if i > 0 {
			edges = append(edges, Edge{nodeID(i - 1), 255})
		}
		if i < 299 {
			edges = append(edges, Edge{nodeID(i + 1), 255})
		}
		r := nodeRecord(i, Version{1, 1}, edges...)
		g.Merge(sealedOf(t, r), r)
	}
	far := g.Routes(nodeID(0))[nodeID(299)]
	if want := (Route{nodeID(1), 299 << MaxCost, 255}); far != want {
		t.Fatalf("got %v, want %v", far, want)
	}
}

func TestCostOf(t *testing.T) {
	for _, c := range []struct {
		rtt  time.Duration
		want uint8
	}{
		{-time.Second, 0}, {0, 0}, {999 * time.Microsecond, 0}, {time.Millisecond, 1}, {1999 * time.Microsecond, 1},
		{2 * time.Millisecond, 2}, {100 * time.Millisecond, 7}, {4095 * time.Millisecond, 12},
		{4096 * time.Millisecond, 13}, {time.Hour, 13}, {1<<63 - 1, 13},
	} {
		if got := CostOf(c.rtt); got != c.want {
			t.Errorf("CostOf(%v) = %d, want %d", c.rtt, got, c.want)
		}
	}
}

func TestCostKeeperWaits(t *testing.T) {
	start := time.Unix(0, 0)
	var k CostKeeper
	for i, c := range []struct {
		at    time.Duration
		rtt   time.Duration
		want  bool
		class uint8
	}{
		{0, 100 * time.Millisecond, true, 7},
		{1 * time.Second, 10 * time.Millisecond, false, 7},
		{59 * time.Second, 10 * time.Millisecond, false, 7},
		{60 * time.Second, 100 * time.Millisecond, false, 7}, // back in class: starts again
		{61 * time.Second, 10 * time.Millisecond, false, 7},
		{120 * time.Second, 1 * time.Second, false, 7},
		{121 * time.Second, 12 * time.Millisecond, true, 4},
		{122 * time.Second, 12 * time.Millisecond, false, 4},
		{300 * time.Second, 100 * time.Millisecond, false, 4},
	} {
		if got := k.Update(c.rtt, start.Add(c.at)); got != c.want || k.Class() != c.class {
			t.Errorf("step %d: changed %v, class %d; want %v, %d", i, got, k.Class(), c.want, c.class)
		}
	}
}
