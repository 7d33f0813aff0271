package sim

import "time"

// Flow is a stream of packets between two hosts, which their daemons have no part in.
type Flow struct {
	Sent, Got int
	from, to  *Node
	on        bool
}

// Flow sends a packet from node i to node j every time d has passed, until Stop.
func (w *World) Flow(i, j int, d time.Duration) *Flow {
	f := &Flow{from: w.Nodes[i], to: w.Nodes[j], on: true}
	var next func()
	next = func() {
		if f.on {
			f.Sent++
			f.from.host.transmit(packet{source: f.from.host.address, dst: f.to.host.address, size: 1000, payload: f})
			w.clock.after(d, next)
		}
	}
	next()
	return f
}

// Stop ends the flow; what is under way still arrives.
func (f *Flow) Stop() { f.on = false }
