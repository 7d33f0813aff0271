package sim

import (
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// Times of topology/control and of Linux's TCP.
const (
	handshakeTimeout = 5 * time.Second
	connectTimeout   = 10 * time.Second
	userTimeout      = 20 * time.Second // unacknowledged data ends a connection
	firstRTO         = 200 * time.Millisecond
)

// synTimes are when Linux sends the SYN of one connect.
var synTimes = []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}

// end is one node's end of a control session over TCP.
type end struct {
	node *Node
	far  *end
	id   wgmesh.SessionID
	open bool

	arrival time.Time // of the last thing that is under way to far: nothing overtakes it
	backlog []item    // what a blocked path holds back
	stuck   time.Time // since when
	rto     time.Duration
}

// item is one thing in the stream: a message, or the end.
type item struct {
	message topology.Message
	fin     string
}

// dial lets n try target. The SYN is repeated as Linux does; the handshake takes two round trips.
func (n *Node) dial(target string) {
	w, run := n.world, n.run
	far := w.listener(target)
	fail := func(after time.Duration, kind wgmesh.DialError, reason string) {
		w.clock.after(after, func() {
			if n.run == run {
				n.post(wgmesh.DialFailed{Target: target, Kind: kind, Reason: reason})
			}
		})
	}
	switch far {
	case nil:
		fail(time.Millisecond, wgmesh.DialUnreachable, "no such host")
		return
	case n:
		fail(time.Millisecond, wgmesh.DialSelf, "connected to self")
		return
	}
	var try func(i int)
	try = func(i int) {
		if i == len(synTimes) {
			fail(connectTimeout-synTimes[i-1], wgmesh.DialUnreachable, "connect: timeout")
			return
		}
		oneWay := w.net.delay(n.addr, far.addr)
		if w.net.blocked(n.addr, far.addr) {
			wait := connectTimeout - synTimes[i]
			if i+1 < len(synTimes) {
				wait = synTimes[i+1] - synTimes[i]
				w.clock.after(wait, func() { try(i + 1) })
				return
			}
			fail(wait, wgmesh.DialUnreachable, "connect: timeout")
			return
		}
		if far.down {
			fail(2*oneWay, wgmesh.DialUnreachable, "connection refused")
			return
		}
		w.clock.after(3*oneWay, func() {
			switch {
			case n.run != run:
			case w.net.blocked(n.addr, far.addr), far.frozen(), far.down, n.frozen():
				fail(handshakeTimeout, wgmesh.DialUnreachable, "handshake: timeout")
			case far.core.Self() == n.core.Self():
				fail(oneWay, wgmesh.DialDuplicate, "duplicate identity: another node runs with a copy of this one's state")
			case len(far.core.Record().Body) == 0:
				fail(oneWay, wgmesh.DialRefused, "not ready")
			default:
				w.connect(n, far, target)
			}
		})
	}
	try(0)
}

// connect makes the two ends of a session: the accepting one now, the dialling one when the last message arrives.
func (w *World) connect(dialler, acceptor *Node, target string) {
	w.made++
	export := exportOf(w.made, dialler.core.Self(), acceptor.core.Self())
	a, d := &end{node: acceptor, open: true}, &end{node: dialler, open: true}
	a.far, d.far = d, a
	a.id, d.id = acceptor.newSession(a), dialler.newSession(d)
	theirs, ours := dialler.core.Record(), acceptor.core.Record()
	acceptor.post(wgmesh.SessionUp{
		ID: a.id, Peer: dialler.core.Self(), Record: theirs, Remote: dialler.ephemeral(w.made), Local: acceptor.control(), Export: export,
	})
	a.arrival = w.clock.now.Add(w.net.delay(acceptor.addr, dialler.addr))
	run := dialler.run
	w.clock.at(a.arrival, func() {
		if dialler.run != run {
			return
		}
		dialler.post(wgmesh.SessionUp{
			ID: d.id, Peer: acceptor.core.Self(), Record: ours, Dialled: true, Target: target,
			Remote: acceptor.control(), Local: dialler.ephemeral(w.made), Export: export,
		})
	})
}

// send puts something into the stream.
func (e *end) send(it item) {
	if !e.open {
		return
	}
	if len(e.backlog) > 0 {
		e.backlog = append(e.backlog, it)
		return
	}
	w := e.node.world
	if w.net.blocked(e.node.addr, e.far.node.addr) {
		e.backlog, e.stuck, e.rto = []item{it}, w.clock.now, firstRTO
		w.clock.after(e.rto, e.retransmit)
		return
	}
	e.transmit(it)
}

func (e *end) transmit(it item) {
	w := e.node.world
	at := w.clock.now.Add(w.net.delay(e.node.addr, e.far.node.addr))
	if at.Before(e.arrival) {
		at = e.arrival
	}
	e.arrival = at
	w.clock.at(at, func() { e.far.arrive(it) })
}

// retransmit tries the backlog again with TCP's doubling pauses, until the connection is given up.
func (e *end) retransmit() {
	w := e.node.world
	switch {
	case len(e.backlog) == 0:
	case w.clock.now.Sub(e.stuck) > userTimeout:
		e.backlog = nil
		e.down("connection timed out")
	case w.net.blocked(e.node.addr, e.far.node.addr):
		e.rto *= 2
		w.clock.after(e.rto, e.retransmit)
	default:
		backlog := e.backlog
		e.backlog = nil
		for _, it := range backlog {
			e.transmit(it)
		}
	}
}

// arrive takes something out of the stream. To whom it is closed answers with a reset.
func (e *end) arrive(it item) {
	w := e.node.world
	switch {
	case it.fin != "":
		e.down(it.fin)
	case e.open:
		e.node.post(wgmesh.Received{ID: e.id, Message: it.message})
	case !w.net.blocked(e.node.addr, e.far.node.addr):
		w.clock.after(w.net.delay(e.node.addr, e.far.node.addr), func() { e.far.down("connection reset") })
	}
}

// close ends the session from this side, after what was sent.
func (e *end) close() {
	e.send(item{fin: "the peer closed the connection"})
	e.open = false
	delete(e.node.ends, e.id)
}

// down ends the session for a reason that lies elsewhere.
func (e *end) down(reason string) {
	if e.open {
		e.open = false
		delete(e.node.ends, e.id)
		e.node.post(wgmesh.SessionDown{ID: e.id, Reason: reason})
	}
}
