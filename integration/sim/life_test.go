package sim

import (
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/topology/control"
	"github.com/weavewg/weavewg/wgmesh"
)

// With real identities, signatures and secrets, and every message through the codec, the same happens as with stand-ins.
func TestRealNotary(t *testing.T) {
	secrets, err := control.ParseSecrets([]byte(control.GenerateSecret() + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	w := New(3, 20, Options{Codec: true, Identity: func(int) ([32]byte, topology.Notary) {
		identity, err := control.GenerateIdentity()
		if err != nil {
			t.Fatal(err)
		}
		notary, err := control.NewNotary(identity, mesh, secrets)
		if err != nil {
			t.Fatal(err)
		}
		return identity.Public(), notary
	}})
	reach(t, w, "everybody knows everybody", 10*time.Second, (&everyPair{world: w, ok: known}).holds)
	reach(t, w, "every link is up", 15*time.Second, (&everyPair{world: w, ok: linked}).holds)
	reach(t, w, "all graphs are equal", 5*time.Second, w.equal)
	w.Run(5 * time.Second)
	settled(t, w)
	sound(t, w)
}

// A daemon that is killed and started again finds its tunnels as they were: no packet is lost.
func TestRestartsLoseNothing(t *testing.T) {
	const n = 20
	w := New(4, n, Options{})
	every := func(ok func(*Node, wgmesh.PeerView) bool) func() bool { return (&everyPair{world: w, ok: ok}).holds }
	reach(t, w, "every link is up", 15*time.Second, every(linked))
	w.Run(15 * time.Second) // what is worth saving is saved
	var flows []*Flow
	for i := range n {
		for j := range n {
			if i != j {
				flows = append(flows, w.Flow(i, j, 250*time.Millisecond))
			}
		}
	}
	for round := range 3 {
		for i := round; i < n; i += 4 {
			w.Restart(i, time.Duration(1+i%5)*time.Second)
			if i%3 == 0 {
				w.Amnesia(i) // the state file was lost: the tunnels are known only from the device
			}
		}
		w.Run(20 * time.Second)
		sound(t, w)
	}
	reach(t, w, "every link is up again", 5*time.Second, every(linked))
	reach(t, w, "all graphs are equal again", 5*time.Second, w.equal)
	w.Run(150 * time.Second) // every session is renewed, with the keys that were agreed since
	reach(t, w, "every link is still up", time.Second, every(linked))
	arrived(t, w, flows)
	settled(t, w)
	sound(t, w)
}

// Sessions are renewed every two minutes and pre-shared keys every hour, and nobody notices.
func TestHoursPass(t *testing.T) {
	const n = 6
	w := New(8, n, Options{})
	reach(t, w, "every link is up", 15*time.Second, (&everyPair{world: w, ok: linked}).holds)
	var flows []*Flow
	keys := map[[2]int]map[wgtypes.Key]bool{}
	for i := range n {
		for j := range n {
			if i != j {
				flows = append(flows, w.Flow(i, j, time.Second))
				keys[[2]int{i, j}] = map[wgtypes.Key]bool{}
			}
		}
	}
	for range 125 {
		w.Run(time.Minute)
		sound(t, w)
		for pair, seen := range keys {
			far := w.Nodes[pair[1]].host.slots[0].dev.public
			seen[w.Nodes[pair[0]].host.slots[0].dev.peers[far].psk] = true
		}
	}
	for pair, seen := range keys {
		if len(seen) != 3 {
			t.Errorf("seed %d: nodes %d and %d used %d pre-shared keys in 125 minutes, want 3", w.Seed, pair[0], pair[1], len(seen))
		}
	}
	arrived(t, w, flows)
	settled(t, w)
}

// arrived ends flows and checks that nothing was lost.
func arrived(t *testing.T, w *World, flows []*Flow) {
	t.Helper()
	for _, f := range flows {
		f.Stop()
	}
	w.Run(time.Second)
	sent, got := 0, 0
	for _, f := range flows {
		sent, got = sent+f.Sent, got+f.Got
	}
	t.Logf("%d packets, %d arrived", sent, got)
	if sent == 0 || sent != got {
		t.Errorf("seed %d: %d of %d packets are lost", w.Seed, sent-got, sent)
	}
}

// A node that is taken down is gone for everybody at once, and comes back as itself.
func TestLeave(t *testing.T) {
	const n, gone = 12, 5
	w := New(5, n, Options{})
	reach(t, w, "every link is up", 15*time.Second, (&everyPair{world: w, ok: linked}).holds)
	w.Leave(gone)
	others := func(i int) bool { return i != gone }
	reach(t, w, "everybody knows that it left", 2*time.Second, func() bool {
		for i, x := range w.Nodes {
			if i == gone {
				continue
			}
			for _, p := range x.core.View().Peers {
				if p.ID == w.Nodes[gone].core.Self() && (!p.Left || p.Control) {
					return false
				}
			}
			if len(x.host.slots[0].dev.peers) != n-2 {
				return false
			}
		}
		return true
	})
	w.Run(20 * time.Second)
	q := everyPair{world: w, ok: linked, among: others}
	reach(t, w, "the others are as before", time.Second, q.holds)
	w.Return(gone)
	reach(t, w, "every link is up again", 15*time.Second, (&everyPair{world: w, ok: linked}).holds)
	sound(t, w)
}

// A node that was forgotten while it could not be reached is known by nobody, until it comes back.
func TestForgottenAndBack(t *testing.T) {
	const n, gone, with = 20, 5, 11
	w := New(7, n, Options{})
	every := func(ok func(*Node, wgmesh.PeerView) bool) func() bool { return (&everyPair{world: w, ok: ok}).holds }
	reach(t, w, "every link is up", 15*time.Second, every(linked))
	w.Partition(func(i int) bool { return i == gone || i == with })
	w.Run(40 * time.Second)
	w.Forget(2, gone)
	forgotten := func() bool {
		for i, x := range w.Nodes {
			for _, p := range x.core.View().Peers {
				if i != gone && i != with && p.ID == w.Nodes[gone].core.Self() {
					return false
				}
			}
		}
		return true
	}
	reach(t, w, "nobody on this side knows it", 2*time.Second, forgotten)
	w.Run(30 * time.Second)
	reach(t, w, "nobody on this side knows it still", 100*time.Millisecond, forgotten)
	w.Heal()
	reach(t, w, "all graphs are equal", 15*time.Second, func() bool { return every(known)() && w.equal() })
	reach(t, w, "every link is up again", 30*time.Second, every(linked))
	settled(t, w)
}

// Two nodes with one identity are noticed, and cost the others little.
func TestClone(t *testing.T) {
	const n, original, clone = 20, 3, 17
	w := New(6, n, Options{Copies: map[int]int{clone: original}})
	others := func(i int) bool { return i != original && i != clone }
	q := everyPair{world: w, ok: linked, among: others}
	reach(t, w, "every link of the others is up", 15*time.Second, q.holds)
	w.Run(10 * time.Second)
	before := w.messages
	for range 60 {
		w.Run(time.Second)
		sound(t, w)
		if !q.holds() {
			t.Fatalf("seed %d: at %v a link between others is down", w.Seed, w.Now())
		}
	}
	if rate := (w.messages - before) / 60; rate > 1000 {
		t.Errorf("seed %d: %d messages a second", w.Seed, rate)
	}
	for _, i := range []int{original, clone} {
		if v := w.Nodes[i].core.View(); v.Clones < 3 {
			t.Errorf("seed %d: node %d has noticed nothing (%d)", w.Seed, i, v.Clones)
		}
	}
}
