package lab

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWireDelays(t *testing.T) {
	_, _, a, _ := pair(t, OverWire(WireSpec{Delay: 10 * time.Millisecond}))
	r := ping(t, a.Host, "10.0.0.2", 50)
	// There and back over two wires.
	if m := r.MedianRTT(); r.Lost() != 0 || m < 40*time.Millisecond || m > 60*time.Millisecond {
		t.Error(r)
	}
}

func TestWireCarriesTCP(t *testing.T) {
	_, _, a, b := pair(t, OverWire(WireSpec{}))
	if got := transfer(t, a, b, 20<<20); got.Mbits() < 50 {
		t.Errorf("%.1f Mbit/s", got.Mbits())
	}
}

func TestTCPSurvivesABadWire(t *testing.T) {
	_, _, a, b := pair(t, OverWire(WireSpec{Delay: time.Millisecond, Loss: 0.01, Reorder: 0.05, Duplicate: 0.02}))
	transfer(t, a, b, 2<<20)
}

func TestWireLosesAndDuplicates(t *testing.T) {
	_, _, a, _ := pair(t, OverWire(WireSpec{}))
	if err := a.Wire.Set(In, WireSpec{Loss: 0.2, Duplicate: 0.2}); err != nil {
		t.Fatal(err)
	}
	a.Wire.Seed(7)
	r := ping(t, a.Host, "10.0.0.2", 500)
	if r.Lost() < 50 || r.Lost() > 150 || r.Duplicates < 40 || r.Duplicates > 130 {
		t.Error(r)
	}
}

func TestLaneKeepsRate(t *testing.T) {
	l := lane{spec: WireSpec{Rate: 8_000_000, Queue: 10 * time.Millisecond}, rnd: rand.New(rand.NewPCG(1, 1))}
	now := time.Unix(0, 0)
	var last time.Time
	carried := 0
	for range 1000 { // 1 MB at once: only what fits into 10 ms of queue, 10 kB, is taken
		for _, at := range l.arrivals(now, 1000) {
			carried++
			last = at
		}
	}
	if carried < 10 || carried > 12 || last.Sub(now) > 12*time.Millisecond {
		t.Errorf("%d frames, the last after %v", carried, last.Sub(now))
	}
}

// Without a share for reordering frames arrive in the order in which they were given, never before, however the spec
// changes on the way.
func TestLaneKeepsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := func(name string, most int) time.Duration {
			return time.Duration(rapid.IntRange(0, most).Draw(t, name)) * time.Millisecond
		}
		l := lane{rnd: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))}
		now := time.Unix(0, 0)
		var last time.Time
		for range rapid.IntRange(1, 50).Draw(t, "frames") {
			if rapid.IntRange(0, 9).Draw(t, "change") == 0 {
				l.spec = WireSpec{
					Delay: ms("delay", 50), Jitter: ms("jitter", 50), Duplicate: 0.1, Loss: 0.1,
					Rate: rapid.SampledFrom([]uint64{0, 1e6, 1e8}).Draw(t, "rate"),
				}
			}
			now = now.Add(ms("pause", 5))
			for _, at := range l.arrivals(now, 1000) {
				if at.Before(now) || at.Before(last) {
					t.Fatalf("given at %v, arrives at %v, the one before at %v", now, at, last)
				}
				last = at
			}
		}
	})
}

// The same seed gives every frame the same fate.
func TestLaneIsSeeded(t *testing.T) {
	spec := WireSpec{Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond, Reorder: 0.2, Duplicate: 0.1, Loss: 0.1}
	run := func() (all []time.Time) {
		l := lane{spec: spec, rnd: rand.New(rand.NewPCG(42, 0))}
		for i := range 1000 {
			all = append(all, l.arrivals(time.Unix(0, int64(i)*1e5), 100)...)
		}
		return all
	}
	a, b := run(), run()
	if len(a) != len(b) {
		t.Fatalf("%d and %d arrivals", len(a), len(b))
	}
	swapped := 0
	for i := range a {
		if !a[i].Equal(b[i]) {
			t.Fatalf("arrival %d: %v and %v", i, a[i], b[i])
		}
		if i > 0 && a[i].Before(a[i-1]) {
			swapped++
		}
	}
	if swapped == 0 {
		t.Error("a fifth should overtake, none did")
	}
}

func TestWireSpecIsChecked(t *testing.T) {
	for _, s := range []WireSpec{{Loss: 1.1}, {Reorder: -1}, {Delay: -1}, {Duplicate: 2}} {
		if s.Validate() == nil {
			t.Errorf("%+v was taken", s)
		}
	}
}
