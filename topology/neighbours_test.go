package topology

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func nobody(NodeID) bool { return false }

func randomIDs(n int, rng *rand.Rand) []NodeID {
	ids := make([]NodeID, n)
	for i := range ids {
		for j := range ids[i] {
			ids[i][j] = byte(rng.Uint32())
		}
	}
	return ids
}

// connected says whether the choices, taken from either end and without what blocked holds, join all ids but the dead.
func connected(ids []NodeID, choice map[NodeID][]NodeID, blocked func(a, b NodeID) bool) bool {
	links := map[NodeID][]NodeID{}
	for a, peers := range choice {
		for _, b := range peers {
			if !blocked(a, b) {
				links[a], links[b] = append(links[a], b), append(links[b], a)
			}
		}
	}
	reached := map[NodeID]bool{ids[0]: true}
	for todo := ids[:1:1]; len(todo) > 0; todo = todo[1:] {
		for _, b := range links[todo[0]] {
			if !reached[b] {
				reached[b] = true
				todo = append(todo, b)
			}
		}
	}
	for _, id := range ids {
		if !reached[id] {
			return false
		}
	}
	return true
}

func TestNeighboursOfEveryMeshSize(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for n := 2; n <= 300; n++ {
		ids := randomIDs(n, rng)
		choice := map[NodeID][]NodeID{}
		for i, id := range ids {
			all := slices.Clone(ids)
			rng.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
			if i%2 == 0 {
				all = slices.DeleteFunc(all, func(o NodeID) bool { return o == id })
			}
			choice[id] = Neighbours(id, all, nobody)
			if !slices.IsSortedFunc(choice[id], NodeID.Compare) || slices.Contains(choice[id], id) {
				t.Fatalf("%d nodes: choice is not in order, or has self", n)
			}
			switch degree := len(choice[id]); {
			case n <= MaxNeighbours+1 && degree != n-1:
				t.Fatalf("%d nodes: chose %d, want all", n, degree)
			case degree > MaxNeighbours, n > MaxNeighbours+1 && degree > 14:
				t.Fatalf("%d nodes: chose %d", n, degree)
			}
		}
		for a, peers := range choice {
			for _, b := range peers {
				if !slices.Contains(choice[b], a) {
					t.Fatalf("%d nodes: %s chose %s, which did not", n, a.Short(), b.Short())
				}
			}
		}
		if !connected(ids, choice, func(NodeID, NodeID) bool { return false }) {
			t.Fatalf("%d nodes: the mesh falls apart", n)
		}
	}
}

func TestDistances(t *testing.T) {
	for n := MaxNeighbours + 2; n <= MaxNodes; n++ {
		ds := distances(n)
		if len(ds) != ringDistances || ds[0] != 1 || ds[len(ds)-1] != n/2 {
			t.Fatalf("%d nodes: %v", n, ds)
		}
		for i := 1; i < len(ds); i++ {
			if ds[i] <= ds[i-1] {
				t.Fatalf("%d nodes: %v", n, ds)
			}
		}
	}
}

// Pairs that cannot reach each other and nodes that are dead are replaced, and the living stay connected.
func TestNeighboursReplaceTheUnreachable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 300).Draw(t, "nodes")
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		ids := randomIDs(n, rng)
		dead := map[NodeID]bool{}
		for _, id := range ids[1:] {
			dead[id] = rng.Float64() < rapid.SampledFrom([]float64{0, 0.1, 0.4}).Draw(t, "dead")
		}
		living := slices.DeleteFunc(slices.Clone(ids), func(id NodeID) bool { return dead[id] })
		blocked := map[[2]NodeID]bool{}
		// Only in a mesh that has nodes to replace with: among few, blocked pairs can part it whatever is chosen.
		if len(living) > 2*MaxNeighbours {
			for i, a := range living {
				for _, b := range living[:i] {
					if rng.Float64() < 0.25 {
						blocked[[2]NodeID{a, b}], blocked[[2]NodeID{b, a}] = true, true
					}
				}
			}
		}
		isBlocked := func(a, b NodeID) bool { return blocked[[2]NodeID{a, b}] }
		choice := map[NodeID][]NodeID{}
		for _, id := range living {
			failing := func(o NodeID) bool { return dead[o] || isBlocked(id, o) }
			for _, o := range Neighbours(id, ids, failing) {
				if !dead[o] && !isBlocked(id, o) {
					choice[id] = append(choice[id], o)
				}
			}
			if len(living) > 2*MaxNeighbours && len(choice[id]) < 13 {
				t.Fatalf("chose only %d of %d living", len(choice[id]), len(living))
			}
		}
		if !connected(living, choice, isBlocked) {
			t.Fatalf("the living part of %d nodes falls apart", n)
		}
	})
}

func TestShed(t *testing.T) {
	start := time.Unix(1000, 0)
	held := func(n int) []Held {
		var h []Held
		for i := range n {
			h = append(h, Held{nodeID(i), start.Add(time.Duration(i) * time.Second)})
		}
		return h
	}
	upTo := func(k int) func(NodeID) bool {
		return func(id NodeID) bool {
			for i := range k {
				if nodeID(i) == id {
					return true
				}
			}
			return false
		}
	}
	for _, c := range []struct {
		name         string
		held, wanted int
		want         []int
	}{
		{"nothing", 0, 0, nil},
		{"as many as fit", 16, 3, nil},
		{"two over, newest first", 18, 3, []int{17, 16}},
		{"too few chosen are up", 18, 2, nil},
		{"a crowd even so", 66, 2, []int{65, 64}},
		{"chosen ones stay though over", 18, 18, nil},
		{"only the spare one", 18, 17, []int{17}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var want []NodeID
			for _, i := range c.want {
				want = append(want, nodeID(i))
			}
			if got := Shed(held(c.held), upTo(c.wanted)); !slices.Equal(got, want) {
				t.Fatalf("got %v, want %v", got, want)
			}
		})
	}
}
