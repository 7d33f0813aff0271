package wgmesh

import "time"

// cloneWatch counts how often another run spoke with our identity. Once or twice is our own past: an old copy of our
// state, or a daemon that was killed. More is another node with a copy of it. Each of the two outdoes the other's record
// with every version, so they must slow down, or the whole mesh does nothing but pass their records on.
type cloneWatch struct {
	times int
	last  time.Time
	noted time.Time
}

const (
	cloneSure   = 3                // times that make it another node
	cloneMemory = 10 * time.Minute // of silence, and it is gone
	cloneNote   = time.Minute      // between two lines in the log
	clonePace   = 30 * time.Second // at most, between two records of ours
)

// seen books a record of another run, and says whether it is time to write about it.
func (w *cloneWatch) seen(now time.Time) bool {
	w.times = w.count(now) + 1
	w.last = now
	if w.times < cloneSure || !w.noted.IsZero() && now.Sub(w.noted) < cloneNote {
		return false
	}
	w.noted = now
	return true
}

// count is how often it happened of late.
func (w *cloneWatch) count(now time.Time) int {
	if w.times > 0 && now.Sub(w.last) > cloneMemory {
		return 0
	}
	return w.times
}

// pace is how far apart our own records should be: doubling from 200 ms.
func (w *cloneWatch) pace(now time.Time) time.Duration {
	over := w.count(now) - cloneSure
	switch {
	case over < 0:
		return 0
	case over > 8:
		return clonePace
	}
	return min(200*time.Millisecond<<over, clonePace)
}
