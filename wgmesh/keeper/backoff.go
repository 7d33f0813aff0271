package keeper

import "time"

// The first death of a child costs no wait; dying again and again does.
const (
	steady   = time.Second // a child that lived this long counts as healthy again, and is started at once
	minPause = 50 * time.Millisecond
	maxPause = 5 * time.Second
)

// pause returns how long to wait before the next start of a child that lived for so long; last is the pause before
// that, zero if there was none.
func pause(lived, last time.Duration) time.Duration {
	if lived >= steady {
		return 0
	}
	if last == 0 {
		return minPause
	}
	return min(2*last, maxPause)
}
