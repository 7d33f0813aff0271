package capture

import "github.com/weavewg/weavewg/l2bridge"

// Port is the capture end of an overlay port: what the bridge sends out of the port can be read, what is written
// comes into the bridge. Read and Write may each be called by one goroutine at a time.
type Port interface {
	// Read waits for frames, fills in as many as there are, and returns how many. The frames are valid until the next
	// Read. After Close it returns an error that wraps os.ErrClosed.
	Read(frames []l2bridge.Frame) (int, error)
	// Write injects frames in order. A frame that cannot be injected does not keep the next ones back: failed says how
	// many there were, and err why the first of them.
	Write(frames []l2bridge.Scattered) (failed int, err error)
	// Offloads says whether frames may carry work for the hardware, in both directions.
	Offloads() bool
	// Lost returns what was lost before it could be read, since Open.
	Lost() Lost
	// Close ends a Read that waits.
	Close() error
}

// Lost counts captured frames that nobody read.
type Lost struct {
	Overflow uint64 // the kernel's queue was full
	Trimmed  uint64 // longer than the buffer
}

// queueBytes is what the kernel may queue in front of a capture, forced past the system's limits: some 60 ms at 1 Gbit/s.
// More would only turn loss, which senders understand, into delay. The kernel doubles it for its own use.
const queueBytes = 8 << 20

// MaxBatch is how many frames a Read returns at most.
const MaxBatch = 32
