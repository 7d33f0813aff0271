package sim

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// sound fails the test when something broke that must always hold.
func sound(t *testing.T, w *World) {
	t.Helper()
	for _, v := range w.Violations() {
		t.Errorf("seed %d: %s", w.Seed, v)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// reach waits for cond and reports how long it took.
func reach(t *testing.T, w *World, what string, limit time.Duration, cond func() bool) {
	t.Helper()
	took, ok := w.Until(limit, 100*time.Millisecond, cond)
	sound(t, w)
	if !ok {
		t.Fatalf("seed %d: %s: not within %v (at %v; notes %v)", w.Seed, what, limit, w.Now(), w.notes)
	}
	t.Logf("%s: %v", what, took)
}

// settled checks what must hold once nothing changes any more. A newcomer above the bound may stay for a moment.
func settled(t *testing.T, w *World) {
	t.Helper()
	reach(t, w, "nobody holds more sessions than it should", 4*time.Second, func() bool {
		for _, n := range w.Nodes {
			if n.core.View().Sessions > topology.MaxNeighbours {
				return false
			}
		}
		return true
	})
	for i, n := range w.Nodes {
		if len(n.spec.Slots) > topology.MaxSlots {
			t.Errorf("seed %d: node %d has %d slots", w.Seed, i, len(n.spec.Slots))
		}
	}
}

// count returns the full count where WEAVEWG_SOAK is set, else the one that fits `make test`.
func count(full, quick uint64) uint64 {
	if os.Getenv("WEAVEWG_SOAK") != "" {
		return full
	}
	return quick
}

// A mesh of 100 nodes through its life: cold start, a partition and its end, a quarter starved.
func TestHundredNodes(t *testing.T) {
	for seed := range count(30, 1) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { life(t, seed, large) })
	}
}

func life(t *testing.T, seed uint64, n int) {
	w := New(seed, n, Options{})
	every := func(ok func(*Node, wgmesh.PeerView) bool) func() bool { return (&everyPair{world: w, ok: ok}).holds }
	steps := []struct {
		name string
		run  func(t *testing.T)
	}{
		{"cold start", func(t *testing.T) {
			reach(t, w, "everybody knows everybody", 10*time.Second, every(known))
			reach(t, w, "control reaches everybody from everywhere", 10*time.Second, every(present))
			reach(t, w, "every link is up", 15*time.Second, every(linked))
			reach(t, w, "all graphs are equal", 10*time.Second, w.equal)
			w.Run(5 * time.Second)
			settled(t, w)
		}},
		{"partition and heal", func(t *testing.T) {
			far := func(i int) bool { return i%2 == 1 }
			near := func(i int) bool { return i%2 == 0 }
			w.Partition(far)
			w.Run(25 * time.Second)
			for _, side := range []func(int) bool{near, far} {
				q := everyPair{world: w, ok: present, among: side}
				reach(t, w, "control reaches everybody on one side", 10*time.Second, q.holds)
				q = everyPair{world: w, ok: linked, among: side}
				reach(t, w, "every link of one side is up", 10*time.Second, q.holds)
			}
			q := everyPair{world: w, ok: func(n *Node, p wgmesh.PeerView) bool {
				return w.byID[p.ID].index%2 == n.index%2 || !p.Control && p.State != wgmesh.LinkUp
			}}
			reach(t, w, "each side sees the other as absent", 10*time.Second, q.holds)
			w.Heal()
			reach(t, w, "all graphs are equal again", 5*time.Second, w.equal)
			reach(t, w, "control reaches everybody again", 5*time.Second, every(present))
			reach(t, w, "every link is up again", 30*time.Second, every(linked))
			w.Run(5 * time.Second)
			settled(t, w)
		}},
		{"a quarter starves", func(t *testing.T) {
			healthy := func(i int) bool { return i%4 != 1 }
			before := w.edges(healthy)
			for i := range w.Nodes {
				if !healthy(i) {
					w.Freeze(i, 30*time.Second)
				}
			}
			knows := everyPair{world: w, ok: present, among: healthy}
			links := everyPair{world: w, ok: linked, among: healthy}
			for range 60 {
				w.Run(500 * time.Millisecond)
				sound(t, w)
				if !knows.holds() || !links.holds() {
					up, of := w.pairsUp(healthy)
					t.Fatalf("seed %d: at %v a healthy node is absent for another, or %d of %d links are up", seed, w.Now(), up, of)
				}
			}
			after := w.edges(healthy)
			for e := range before {
				if !after[e] {
					t.Errorf("seed %d: the session between the healthy nodes %d and %d is gone", seed, e[0], e[1])
				}
			}
			reach(t, w, "control reaches everybody after the starved woke up", 10*time.Second, every(present))
			reach(t, w, "every link is up after the starved woke up", 30*time.Second, every(linked))
			reach(t, w, "all graphs are equal after the starved woke up", 10*time.Second, w.equal)
			w.Run(5 * time.Second)
			settled(t, w)
		}},
	}
	for _, s := range steps {
		if !t.Run(s.name, s.run) {
			return // what follows needs what came before
		}
	}
	sound(t, w)
}

// eventful is a mesh with a bit of everything: blocked pairs, a partition, starved nodes.
func eventful(seed uint64, n int) *World {
	w := New(seed, n, Options{Targets: func(i int) []int {
		if i == 0 {
			return nil
		}
		return []int{(i - 1) / 2, i - 1}
	}})
	for i := range n / 2 {
		w.Cut(i, n-1-i)
	}
	w.Run(15 * time.Second)
	w.Partition(func(i int) bool { return i%3 == 0 })
	w.Run(25 * time.Second)
	w.Heal()
	w.Freeze(1, 20*time.Second)
	w.Freeze(n/2, 3*time.Second)
	w.Run(25 * time.Second)
	return w
}

func TestSameSeedSameTrace(t *testing.T) {
	a, b, c := eventful(7, 24), eventful(7, 24), eventful(8, 24)
	sound(t, a)
	if a.Trace() != b.Trace() {
		t.Errorf("seed 7 gave the traces %x and %x", a.Trace(), b.Trace())
	}
	if a.Trace() == c.Trace() {
		t.Errorf("seeds 7 and 8 gave the same trace %x", a.Trace())
	}
}

// Different seeds are different distances, orders and jitter; all must end well.
func TestSeeds(t *testing.T) {
	for seed := range count(600, 6) {
		n := 5 + 6*int(seed%6)
		t.Run(fmt.Sprintf("seed %d with %d nodes", seed, n), func(t *testing.T) {
			w := eventful(seed, n)
			sound(t, w)
			q := everyPair{world: w, ok: present}
			reach(t, w, "control reaches everybody", 20*time.Second, q.holds)
			// A blocked pair has control over its neighbours, but no direct path for its tunnel.
			q = everyPair{world: w, ok: func(x *Node, p wgmesh.PeerView) bool {
				far := w.byID[p.ID]
				if w.net.blocked(x.addr, far.addr) {
					return p.Control && !p.Direct && p.PSK
				}
				return linked(x, p)
			}}
			reach(t, w, "every link that can be is up, the others have their key", 40*time.Second, q.holds)
			reach(t, w, "all graphs are equal", 10*time.Second, w.equal)
			settled(t, w)
		})
	}
}
