package datapath

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/topology"
)

// Tapped is one frame as the datapath saw it, and what became of it.
type Tapped struct {
	Time      time.Time
	Network   string
	Direction Direction
	Data      []byte // a copy; one that awaits segmentation is still whole
	Class     l2bridge.Class
	Why       l2bridge.Why
	Peers     []topology.NodeID // Out: who gets a copy; In: whom it came from
	Missed    uint64            // frames before this one that the listener was too slow for
}

// tapQueue is how many frames wait for a slow listener.
const tapQueue = 1024

// taps are those who listen. While nobody does, a frame costs one load.
type taps struct {
	mu   sync.Mutex
	list atomic.Pointer[[]*tap]
}

type tap struct {
	network string
	frames  chan Tapped
	missed  atomic.Uint64
}

// Tap calls f with every frame of a network ("": of all) until the context ends, on the caller's goroutine. Frames
// never wait for f: a slow one misses some, and is told how many.
func (d *Datapath) Tap(ctx context.Context, network string, f func(Tapped)) {
	t := &tap{network: network, frames: make(chan Tapped, tapQueue)}
	d.taps.change(func(l []*tap) []*tap { return append(l, t) })
	defer d.taps.change(func(l []*tap) []*tap { return slices.DeleteFunc(l, func(o *tap) bool { return o == t }) })
	for {
		select {
		case <-ctx.Done():
			return
		case frame := <-t.frames:
			f(frame)
		}
	}
}

func (t *taps) change(f func([]*tap) []*tap) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*tap
	if old := t.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	if list = f(list); len(list) == 0 {
		t.list.Store(nil)
		return
	}
	t.list.Store(&list)
}

// tell shows a frame to those who listen.
func (t *taps) tell(now time.Time, n *network, d Direction, data []byte, v l2bridge.Verdict, peers []l2bridge.Member) {
	list := t.list.Load()
	if list == nil {
		return
	}
	seen := Tapped{Time: now, Network: n.Name, Direction: d, Data: slices.Clone(data), Class: v.Class, Why: v.Why}
	for i := range peers {
		seen.Peers = append(seen.Peers, peers[i].ID)
	}
	for _, one := range *list {
		if one.network != "" && one.network != n.Name {
			continue
		}
		seen.Missed = one.missed.Load()
		select {
		case one.frames <- seen:
			one.missed.Add(-seen.Missed)
		default:
			one.missed.Add(1)
		}
	}
}

// Verdict says in words what became of the frame; name names peers.
func (t *Tapped) Verdict(name func(topology.NodeID) string) string {
	var peers []string
	for _, id := range t.Peers {
		peers = append(peers, name(id))
	}
	list := strings.Join(peers, ", ")
	switch {
	case t.Direction == In && t.Why == l2bridge.Forwarded:
		return "in from " + list
	case t.Direction == In:
		return "in from " + list + ": dropped, " + t.Why.String()
	case t.Why == l2bridge.Forwarded:
		return fmt.Sprintf("out, %s, to %s", t.Class, list)
	}
	return "out: not sent, " + t.Why.String()
}

// String is the line that `weavewg capture` prints, peers by the start of their ids.
func (t *Tapped) String() string { return t.Line(topology.NodeID.Short) }

// Line is one line for people: time, network, verdict, frame.
func (t *Tapped) Line(name func(topology.NodeID) string) string {
	line := fmt.Sprintf("%s %s %s | %s", t.Time.Format("15:04:05.000000"), t.Network, t.Verdict(name), l2bridge.Describe(t.Data))
	if t.Missed > 0 {
		line = fmt.Sprintf("(%d frames missed)\n%s", t.Missed, line)
	}
	return line
}
