package datapath

import (
	"sync"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/capture"
)

// Direction of frames, seen from the bridge.
type Direction uint8

// The directions.
const (
	Out Direction = iota // captured, to the tunnels
	In                   // from the tunnels, to be injected
	directions
)

// String returns the name that metrics and captures show.
func (d Direction) String() string {
	if d == Out {
		return "out"
	}
	return "in"
}

// Count is a number of frames and their bytes, Ethernet headers included.
type Count struct{ Frames, Bytes uint64 }

// Stats are totals since the datapath was made. A captured frame counts once, however many members get a copy; one
// that awaits segmentation counts as what it becomes.
type Stats struct {
	Traffic [directions][l2bridge.Classes]Count
	Drops   [l2bridge.Whys]uint64 // frames or packets, by reason; Forwarded is none
	// Calls tell how well frames travel together.
	Captures, Injections uint64 // frames that were read from and written to captures, each with one pass through the kernel
	Segmented, Joined    uint64 // of these, TCP frames that were cut, and that were joined
	Sends, Receives      uint64 // sends and receives of datagrams, up to 64 in each
	Malformed            uint64 // ARP, ND or DHCP that could not be read for addresses
}

// counters are the Stats of one goroutine; it adds them to the totals once a batch, so that no frame costs a lock.
type counters struct{ Stats }

func (c *counters) frame(d Direction, class l2bridge.Class, frames, bytes int) {
	t := &c.Traffic[d][class]
	t.Frames += uint64(frames)
	t.Bytes += uint64(bytes)
}

func (c *counters) drop(why l2bridge.Why) { c.Drops[why]++ }

// totals are what all goroutines counted.
type totals struct {
	mu sync.Mutex
	Stats
}

// take adds what a goroutine counted and clears it.
func (t *totals) take(c *counters) {
	t.mu.Lock()
	t.add(&c.Stats)
	t.mu.Unlock()
	c.Stats = Stats{}
}

func (s *Stats) add(o *Stats) {
	for d := range s.Traffic {
		for c := range s.Traffic[d] {
			s.Traffic[d][c].Frames += o.Traffic[d][c].Frames
			s.Traffic[d][c].Bytes += o.Traffic[d][c].Bytes
		}
	}
	for i := range s.Drops {
		s.Drops[i] += o.Drops[i]
	}
	s.Captures += o.Captures
	s.Injections += o.Injections
	s.Segmented += o.Segmented
	s.Joined += o.Joined
	s.Sends += o.Sends
	s.Receives += o.Receives
	s.Malformed += o.Malformed
}

// lost adds what a capture lost that is being closed.
func (t *totals) lost(l capture.Lost) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Drops[l2bridge.CaptureOverflow] += l.Overflow
	t.Drops[l2bridge.CaptureTrimmed] += l.Trimmed
}

// Stats returns the totals so far.
func (d *Datapath) Stats() Stats {
	d.totals.mu.Lock()
	s := d.totals.Stats
	d.totals.mu.Unlock()
	s.Drops[l2bridge.TunnelOverflow] += d.tunnel.lost()
	for _, n := range *d.byVNI.Load() {
		if p := n.port.Load(); p != nil {
			lost := p.Lost()
			s.Drops[l2bridge.CaptureOverflow] += lost.Overflow
			s.Drops[l2bridge.CaptureTrimmed] += lost.Trimmed
		}
	}
	return s
}
