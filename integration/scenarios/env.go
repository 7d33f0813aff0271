package scenarios

import (
	"context"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// Env is what a scenario acts on.
type Env struct {
	Binary string // weavewg, on every machine
	Probe  string // scenarios/probe, on every machine
	Sites  []*Site
	Net    *Net // what can be done to the cables; nil where they are out of reach
	// Slow is how many times slower than a real machine these are (emulation): patience grows by it, paces and counts
	// shrink, and times are reported instead of judged. 0 is 1.
	Slow int
}

// Site is one host of the mesh to be.
type Site struct {
	lab.Machine
	Addr4, Addr6 netip.Addr // on the underlay, where all sites see each other; Addr6 may be missing
	Dir          string     // a folder for the node's files, on the machine
}

// Net gives access to the cables of a lab.
type Net struct {
	Lab    *lab.Lab
	Switch *lab.Switch
	Links  []*lab.Link // of the sites, in their order
}

// Scenario is one thing that a mesh must do.
type Scenario struct {
	Name  string
	Hosts int
	Limit time.Duration // for all of it; 0: one minute
	// Lab says that it reaches for cables (Env.Net) or for programs of this machine, so that only a lab can run it.
	Lab bool
	// Wires says that the cables must be wires in user space.
	Wires bool
	Run   func(t *T, e *Env)
}

// T is a test with a deadline.
type T struct {
	testing.TB
	ctx  context.Context
	slow int // at least 1
}

// Context ends when the scenario's time is up.
func (t *T) Context() context.Context { return t.ctx }

// Play runs a scenario in an environment that has at least its number of hosts.
func (s Scenario) Play(tb testing.TB, e *Env) {
	limit := s.Limit
	if limit == 0 {
		limit = time.Minute
	}
	slow := max(e.Slow, 1)
	ctx, cancel := context.WithTimeout(tb.Context(), limit*time.Duration(slow))
	tb.Cleanup(cancel)
	s.Run(&T{TB: tb, ctx: ctx, slow: slow}, e)
}

// within is a context for one step.
func (t *T) within(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.ctx, d*time.Duration(t.slow))
	t.Cleanup(cancel)
	return ctx
}

// ok ends the test on an error.
func (t *T) ok(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition and ends the test when it does not come; check says what is missing.
func (t *T) eventually(d time.Duration, check func(context.Context) error) {
	t.Helper()
	t.ok(lab.Until(t.within(d), check))
}

// atMost fails the test when a measured value is above its floor, and prints it either way.
func (t *T) atMost(what string, got, limit time.Duration) {
	t.Helper()
	t.Logf("%s: %v (at most %v)", what, got.Round(time.Millisecond), limit)
	if got > limit && t.slow == 1 {
		t.Errorf("%s took %v, at most %v is allowed", what, got.Round(time.Millisecond), limit)
	}
}

// count returns the full count where WEAVEWG_SOAK is set, else the one that fits `make test`; fewer where it is slow.
func (t *T) count(full, test int) int {
	if os.Getenv("WEAVEWG_SOAK") != "" {
		test = full
	}
	return max(test/t.slow, 1)
}

// pace is how often something that is to be watched happens, as an argument of the probe.
func (t *T) pace(every time.Duration) string { return (every * time.Duration(t.slow)).String() }
