package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// pathLimit is how long a flow may stand still when its path dies.
const pathLimit = 3 * time.Second

// peer is what node i says of node j.
func (w *World) peer(i, j int) wgmesh.PeerView {
	for _, p := range w.Nodes[i].core.View().Peers {
		if p.ID == w.Nodes[j].core.Self() {
			return p
		}
	}
	return wgmesh.PeerView{}
}

// by says which node relays from i to j; -1: none.
func (w *World) by(i, j int) int {
	p := w.peer(i, j)
	if p.Using == nil || p.Using.Kind != topology.PathRelay || len(p.Using.Via) != 1 {
		return -1
	}
	return w.byID[p.Using.Via[0].ID].index
}

// both begins flows in both directions.
func both(w *World, i, j int) []*Flow {
	return []*Flow{w.Flow(i, j, 5*time.Millisecond), w.Flow(j, i, 5*time.Millisecond)}
}

func gapBelow(t *testing.T, w *World, flows []*Flow, what string) {
	t.Helper()
	sound(t, w)
	for k, f := range flows {
		if silent := w.clock.now.Sub(f.last); f.Gap > pathLimit || silent > pathLimit || f.Duplicated > 0 {
			t.Errorf("seed %d: %s: flow %d stood still for %v, says nothing for %v, %d doubled", w.Seed, what, k, f.Gap, silent, f.Duplicated)
		}
	}
}

// A path that dies is replaced, whatever it was; nothing is lost when a better one comes.
func TestPathsDie(t *testing.T) {
	for seed := range count(200, 12) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := New(seed, 5, Options{})
			w.Deafen(0, 1, true)
			w.Deafen(1, 0, true)
			reach(t, w, "every link is up", 15*time.Second, (&everyPair{world: w, ok: linked}).holds)
			w.Run(5 * time.Second)
			relay := w.by(0, 1)
			if relay < 2 {
				t.Fatalf("seed %d: by %d", seed, relay)
			}
			flows := both(w, 0, 1)
			w.Run(5 * time.Second)

			w.Unplug(relay, true)
			w.Run(8 * time.Second)
			gapBelow(t, w, flows, "the relay dies")
			if now := w.by(0, 1); now < 2 || now == relay {
				t.Errorf("seed %d: the relay was %d, and is %d", seed, relay, now)
			}
			w.Unplug(relay, false)
			w.Run(40 * time.Second)
			for _, f := range flows {
				f.Reset()
			}

			before := lost(flows)
			w.Deafen(0, 1, false)
			w.Deafen(1, 0, false)
			took, ok := w.Until(25*time.Second, 50*time.Millisecond, func() bool { return direct(w.peer(0, 1)) && direct(w.peer(1, 0)) })
			t.Logf("direct %v after it opened", took)
			w.Run(3 * time.Second)
			if more := lost(flows) - before; !ok || more > 0 {
				t.Errorf("seed %d: direct after %v: %v; %d packets lost", seed, took, ok, more)
			}

			w.Deafen(0, 1, true) // one way only
			w.Run(8 * time.Second)
			gapBelow(t, w, flows, "one way breaks")
			if w.by(0, 1) < 0 {
				t.Errorf("seed %d: no relay took over", seed)
			}
		})
	}
}

// lost counts packets that were sent a second ago or earlier, about, and did not arrive.
func lost(flows []*Flow) (n int) {
	for _, f := range flows {
		f.from.world.Run(0)
		n += f.Sent - f.Got
	}
	return n
}
