package topology

import (
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Back-off between tries of one target. It doubles from the first to the last; of each wait a random part of up to a
// half is left out, so that nodes that lost the same peer do not come back in step.
const (
	BackoffMin = 200 * time.Millisecond
	BackoffMax = 10 * time.Second
)

// MaxTargets bounds the discovered targets; those that a person gave are bounded by their files.
const MaxTargets = 1024

// Source says who wants a target dialled.
type Source uint8

// The sources, strongest first. A target keeps every source that added it and is dropped with the last one.
const (
	FromConfig Source = iota
	FromConnect
	Discovered
	sources
)

func (s Source) String() string {
	return [...]string{"config", "connect", "discovered", ""}[min(s, sources)]
}

// TargetState is what is being done about a target.
type TargetState uint8

// The states.
const (
	Waiting TargetState = iota
	Dialling
	Connected
)

func (s TargetState) String() string { return [...]string{"waiting", "dialling", "connected"}[s] }

// Target is one address to dial, in the form that ParseTarget gives.
type Target struct {
	Address string
	Source  Source // the strongest that wants it
	State   TargetState
	Reason  string    // why the last try failed or the session ended
	Next    time.Time // of the next try, while waiting
	Tries   int       // failed in a row
}

// Targets decides when which address is dialled. It is a value machine: the caller dials what Due returns and tells
// what came of it.
type Targets struct {
	rng *rand.Rand
	all map[string]*target
}

type target struct {
	Target
	wanted [sources]bool
	since  time.Time // of the session
}

// NewTargets returns an empty set that takes its jitter from rng.
func NewTargets(rng *rand.Rand) *Targets {
	return &Targets{rng: rng, all: map[string]*target{}}
}

// Add wants address dialled, at once if it is new. It reports whether this source is new to it; a discovered target
// is refused when there are MaxTargets.
func (t *Targets) Add(address string, source Source, now time.Time) bool {
	x := t.all[address]
	if x == nil {
		if source == Discovered && len(t.all) >= MaxTargets {
			return false
		}
		x = &target{Target: Target{Address: address, Next: now}}
		t.all[address] = x
	}
	added := !x.wanted[source]
	x.wanted[source] = true
	x.Source = Source(slices.Index(x.wanted[:], true))
	return added
}

// Remove takes back what Add of this source wanted, and reports whether nobody wants the target any more: then it is
// gone, and a session to it need not be kept for its sake.
func (t *Targets) Remove(address string, source Source) bool {
	x := t.all[address]
	if x == nil {
		return false
	}
	x.wanted[source] = false
	strongest := slices.Index(x.wanted[:], true)
	if strongest < 0 {
		delete(t.all, address)
		return true
	}
	x.Source = Source(strongest)
	return false
}

// Due returns the addresses to dial now, in order, and counts them as being dialled.
func (t *Targets) Due(now time.Time) []string {
	var due []string
	for address, x := range t.all {
		if x.State == Waiting && !x.Next.After(now) {
			x.State = Dialling
			due = append(due, address)
		}
	}
	slices.Sort(due)
	return due
}

// Next returns when something will be due; the zero time if nothing waits.
func (t *Targets) Next() time.Time {
	var next time.Time
	for _, x := range t.all {
		if x.State == Waiting && (next.IsZero() || x.Next.Before(next)) {
			next = x.Next
		}
	}
	return next
}

// Failed tells that a try came to nothing: the next one waits twice as long.
func (t *Targets) Failed(address, reason string, now time.Time) {
	if x := t.all[address]; x != nil {
		x.wait(reason, now, t.rng)
		x.Tries++
	}
}

// Connected tells that a session to the address is up: there is nothing to do until Lost.
func (t *Targets) Connected(address string, now time.Time) {
	if x := t.all[address]; x != nil {
		x.State, x.Reason, x.Next, x.since = Connected, "", time.Time{}, now
	}
}

// Lost tells that the session to the address ended: it is dialled again after the shortest wait, or as after a failure
// if the session did not last, so that two ends that disagree about it do not make one after the other.
func (t *Targets) Lost(address, reason string, now time.Time) {
	x := t.all[address]
	if x == nil {
		return
	}
	if now.Sub(x.since) < BackoffMax {
		t.Failed(address, reason, now)
		return
	}
	x.Tries = 0
	x.wait(reason, now, t.rng)
}

// Nudge makes a waiting target due now and its back-off short again: something suggests that it can be reached.
func (t *Targets) Nudge(address string, now time.Time) {
	if x := t.all[address]; x != nil && x.State == Waiting {
		x.Tries, x.Next = 0, now
	}
}

// Get returns one target.
func (t *Targets) Get(address string) (Target, bool) {
	if x := t.all[address]; x != nil {
		return x.Target, true
	}
	return Target{}, false
}

// List returns all targets in order of their addresses.
func (t *Targets) List() []Target {
	list := make([]Target, 0, len(t.all))
	for _, x := range t.all {
		list = append(list, x.Target)
	}
	slices.SortFunc(list, func(a, b Target) int { return strings.Compare(a.Address, b.Address) })
	return list
}

// wait sets the time of the next try by the number of failures so far.
func (x *target) wait(reason string, now time.Time, rng *rand.Rand) {
	d := BackoffMax
	if x.Tries < 6 { // 0.2 s · 2^6 is more than 10 s
		d = min(BackoffMin<<x.Tries, BackoffMax)
	}
	x.State, x.Reason = Waiting, reason
	x.Next = now.Add(d - time.Duration(rng.Int64N(int64(d/2)+1)))
}
