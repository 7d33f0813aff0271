package sim

import "time"

// Flow is a stream of packets between two hosts, which their daemons have no part in.
type Flow struct {
	Sent, Got  int
	Duplicated int
	Gap        time.Duration // the longest time between two arrivals
	from, to   *Node
	on         bool
	last       time.Time
	seen       map[int]bool
}

type flowPacket struct {
	flow *Flow
	seq  int
}

// Flow sends a packet from node i to node j every time d has passed, until Stop.
func (w *World) Flow(i, j int, d time.Duration) *Flow {
	f := &Flow{from: w.Nodes[i], to: w.Nodes[j], on: true, seen: map[int]bool{}, last: w.clock.now}
	var next func()
	next = func() {
		if f.on {
			f.Sent++
			f.from.host.transmit(packet{source: f.from.host.address, dst: f.to.host.address, size: 1000, payload: &flowPacket{f, f.Sent}})
			w.clock.after(d, next)
		}
	}
	next()
	return f
}

func (f *Flow) arrived(p *flowPacket) {
	if f.seen[p.seq] {
		f.Duplicated++
		return
	}
	now := f.to.world.clock.now
	f.seen[p.seq] = true
	f.Got++
	f.Gap = max(f.Gap, now.Sub(f.last))
	f.last = now
}

// Reset forgets the gaps so far.
func (f *Flow) Reset() { f.Gap, f.last = 0, f.to.world.clock.now }

// Stop ends the flow; what is under way still arrives.
func (f *Flow) Stop() { f.on = false }
