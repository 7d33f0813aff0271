package lab

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// WireSpec is what a wire does to the frames of one direction. The zero value passes them on at once.
type WireSpec struct {
	Delay     time.Duration // added to every frame
	Jitter    time.Duration // up to this much more, evenly spread; by itself it does not change the order
	Reorder   float64       // share of the frames that skip the delay, and so overtake
	Duplicate float64       // share of the frames that arrive twice
	Loss      float64       // share of the frames that vanish
	Rate      uint64        // bits a second; 0: no limit
	Queue     time.Duration // with a Rate: how long a frame may wait for its turn before it is dropped; 0: 100 ms
}

// Validate says whether the shares are shares and nothing is negative.
func (s WireSpec) Validate() error {
	for _, p := range []float64{s.Reorder, s.Duplicate, s.Loss} {
		if p < 0 || p > 1 {
			return fmt.Errorf("wire: a share of %v is not between 0 and 1", p)
		}
	}
	if s.Delay < 0 || s.Jitter < 0 || s.Queue < 0 {
		return fmt.Errorf("wire: negative time")
	}
	return nil
}

// lane decides when the frames of one direction arrive. It is pure: values in, times out.
type lane struct {
	spec WireSpec
	rnd  *rand.Rand
	free time.Time // when the line has sent all that was given to it
	last time.Time // when the last frame that did not overtake arrives
}

// arrivals returns when copies of a frame of size bytes given to the wire now arrive: none, one or two.
func (l *lane) arrivals(now time.Time, size int) []time.Time {
	s := l.spec
	// Always the same number of draws a frame: a changed share does not change the fate of later frames.
	lost, twice, overtakes, jitter := l.rnd.Float64(), l.rnd.Float64(), l.rnd.Float64(), l.rnd.Float64()
	if lost < s.Loss {
		return nil
	}
	sent := now
	if s.Rate > 0 {
		queue := s.Queue
		if queue == 0 {
			queue = 100 * time.Millisecond
		}
		if l.free.Before(now) {
			l.free = now
		}
		if l.free.Sub(now) > queue {
			return nil
		}
		l.free = l.free.Add(time.Duration(float64(size*8) / float64(s.Rate) * float64(time.Second)))
		sent = l.free
	}
	at := sent
	if overtakes >= s.Reorder {
		at = sent.Add(s.Delay + time.Duration(jitter*float64(s.Jitter)))
		if at.Before(l.last) {
			at = l.last
		}
		l.last = at
	}
	if twice < s.Duplicate {
		return []time.Time{at, at}
	}
	return []time.Time{at}
}
