package node

import (
	"context"
	"runtime/debug"
	"time"
)

// What a start used up, with its handshakes and records, the runtime keeps for long. It is given back to the system soon
// after, and what later bursts used up now and then: that costs a small collection, three of them a minute.
const (
	trimFirst = 10 * time.Second
	trimEvery = 20 * time.Second
)

// trimMemory gives back what is not in use until ctx ends.
func trimMemory(ctx context.Context) error {
	timer := time.NewTimer(trimFirst)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		debug.FreeOSMemory()
		timer.Reset(trimEvery)
	}
}
