package relay

import "time"

// Limits of a Table. Zero fields take the defaults.
type Limits struct {
	Bindings int // in all
	PerOwner int // bindings that one member asked for
	Flows    int // sessions of one binding; the longest unused goes
}

// The defaults. WireGuard keeps three sessions of a tunnel (whitepaper, 6.3), a binding carries one tunnel.
const (
	DefaultBindings = 16384
	DefaultPerOwner = 1024
	DefaultFlows    = 16
)

func (l Limits) orDefaults() Limits {
	if l.Bindings <= 0 {
		l.Bindings = DefaultBindings
	}
	if l.PerOwner <= 0 {
		l.PerOwner = DefaultPerOwner
	}
	if l.Flows <= 0 {
		l.Flows = DefaultFlows
	}
	return l
}

const (
	// FlowLifetime is how long a session may be silent: WireGuard's own ends 180 s after its handshake (REJECT_AFTER_TIME).
	FlowLifetime = 4 * time.Minute
	// PendingLifetime is how long an initiation may wait for its answer: WireGuard sends another after 5 s (REKEY_TIMEOUT).
	PendingLifetime = 10 * time.Second
	// maxPending bounds the unanswered initiations of a binding; the oldest goes.
	maxPending = 8
	// asksLast is how long an answer to a registration of ours counts.
	asksLast = 10 * time.Second
)

// Rates, events a second, and how many may come at once. WireGuard sends an initiation every 5 s at most to one peer; what
// goes above it is for several devices that start at once, for lost answers, and for repeated tries of a new address.
const (
	startRate, startBurst = 2, 16 // initiations that a leg gets through
	scoutRate, scoutBurst = 4, 16 // registrations of a leg
	askRate, askBurst     = 2, 4  // questions to a leg that packets cause
)

// tries is how many mac1 are computed for the initiations from one address, a second and at once. Each initiation costs at
// most one for each leg there, 0.7 µs (measured), and a tunnel needs an initiation in 120 s (REKEY_AFTER_TIME): twice that, and
// all tunnels at once, when a path comes up.
func tries(legs int) (rate, burst float64) {
	square := float64(legs) * float64(legs)
	return 100_000 + square/60, 1_000_000 + square
}

// bucket is a token bucket. The zero one is full.
type bucket struct {
	used float64
	at   time.Time
}

// take says whether n more events are within the rate, and counts them if so.
func (b *bucket) take(now time.Time, n int, rate, burst float64) bool {
	if d := now.Sub(b.at); d > 0 { // time that runs back adds nothing
		b.used = max(0, b.used-d.Seconds()*rate)
		b.at = now
	}
	if b.used+float64(n) > burst {
		return false
	}
	b.used += float64(n)
	return true
}
