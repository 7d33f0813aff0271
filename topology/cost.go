package topology

import (
	"math/bits"
	"time"
)

// MaxCost is the class of the slowest sessions: 2^12 ms and more.
const MaxCost = 13

// CostHold is how long a round-trip time must be in another class before the class changes, so that jitter does not
// make all nodes count their routes again.
const CostHold = 60 * time.Second

// CostOf returns the power-of-two class of a round-trip time: 0 below 1 ms, 1 below 2 ms, 2 below 4 ms, up to MaxCost.
func CostOf(rtt time.Duration) uint8 {
	return uint8(min(bits.Len64(uint64(max(rtt, 0)/time.Millisecond)), MaxCost))
}

// weight is what an edge of a class adds to the cost of a route: the upper end of its class in ms.
func weight(class uint8) uint32 { return 1 << min(class, MaxCost) }

// CostKeeper holds the class of one session. The zero CostKeeper is ready and takes the first class it sees.
type CostKeeper struct {
	class uint8
	set   bool
	since time.Time // when the class began to differ; zero while it does not
}

// Class returns the class held.
func (k *CostKeeper) Class() uint8 { return k.class }

// Update takes a measured round-trip time and reports whether the class changed: it does when the time has been
// outside the class for CostHold, to the class that it is in then.
func (k *CostKeeper) Update(rtt time.Duration, now time.Time) bool {
	class := CostOf(rtt)
	switch {
	case !k.set:
		k.set, k.class = true, class
		return true
	case class == k.class:
		k.since = time.Time{}
		return false
	case k.since.IsZero():
		k.since = now
		return false
	case now.Sub(k.since) < CostHold:
		return false
	}
	k.class, k.since = class, time.Time{}
	return true
}
