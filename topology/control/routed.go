package control

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// Limits of a routed stream.
const (
	routedChunk  = 16 << 10         // bytes of one piece
	routedWindow = 512 << 10        // bytes that may be on the way or wait to be read
	routedGrant  = routedWindow / 2 // bytes that one grant allows
)

// RoutedConn is a net.Conn whose bytes travel as Routed pieces over the sessions of neighbours. They are as
// trustworthy as the network: what runs inside is TLS. A piece that is lost ends the stream.
//
// Each end may have routedWindow bytes on the way. An empty piece that is no Fin is a grant: its sender has read
// routedGrant bytes more.
type RoutedConn struct {
	self, peer topology.NodeID
	stream     uint64
	opener     bool // we opened it
	send       func(topology.Routed) error
	closing    func() // called once, when Close has told the peer

	writing sync.Mutex // one Write at a time
	sending sync.Mutex // keeps pieces in order
	seq     uint64     // of the next piece sent; under sending

	mu             sync.Mutex
	changed        chan struct{} // closed and replaced when something below changes
	expect         uint64        // Seq of the next piece
	received       []byte
	consumed       int   // bytes read since the last grant
	credit         int   // bytes that may be sent
	err            error // what Read says after received
	closed         bool
	readBy, sendBy time.Time
}

// NewRoutedConn returns one end of the stream between self and peer; opener says that self opened it. send takes the
// pieces to the network, in order; an error of it ends the stream.
func NewRoutedConn(self, peer topology.NodeID, stream uint64, opener bool, send func(topology.Routed) error) *RoutedConn {
	return &RoutedConn{self: self, peer: peer, stream: stream, opener: opener, send: send, changed: make(chan struct{}), credit: routedWindow}
}

// Deliver takes a piece from the network. It never waits.
func (c *RoutedConn) Deliver(p topology.Routed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed || c.err != nil:
		return
	case p.Fin && p.Seq == 0 && !p.Opener && c.expect == 0 && len(p.Data) == 0:
		c.err = errors.New("the peer takes no routed stream now")
	case p.Seq != c.expect:
		c.err = fmt.Errorf("routed stream lost a piece: %d came, %d was due", p.Seq, c.expect)
	case len(c.received)+c.consumed+len(p.Data) > routedWindow:
		c.err = errors.New("peer sends more than it was allowed on a routed stream")
	case len(p.Data) == 0 && !p.Fin:
		c.expect++
		c.credit = min(c.credit+routedGrant, routedWindow)
	default:
		c.expect++
		c.received = append(c.received, p.Data...)
		if p.Fin {
			c.err = io.EOF
		}
	}
	c.change()
}

// change wakes whoever waits; mu is held.
func (c *RoutedConn) change() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// Read waits for bytes of the peer.
func (c *RoutedConn) Read(b []byte) (int, error) {
	for {
		c.mu.Lock()
		changed, by := c.changed, c.readBy
		switch {
		case c.closed:
			c.mu.Unlock()
			return 0, net.ErrClosed
		case expired(by):
			c.mu.Unlock()
			return 0, os.ErrDeadlineExceeded
		case len(c.received) > 0:
			n := copy(b, c.received)
			if c.received = c.received[n:]; len(c.received) == 0 {
				c.received = nil
			}
			c.consumed += n
			grant := c.consumed >= routedGrant && c.err == nil
			if grant {
				c.consumed -= routedGrant
			}
			c.mu.Unlock()
			if grant {
				// An error ends the stream for Write; what was read is good.
				_ = c.sendPiece(nil, false)
			}
			return n, nil
		case c.err != nil:
			defer c.mu.Unlock()
			return 0, c.err
		}
		c.mu.Unlock()
		wait(changed, by)
	}
}

func expired(by time.Time) bool { return !by.IsZero() && !time.Now().Before(by) }

// wait returns when changed is closed or the deadline, if there is one, has passed.
func wait(changed <-chan struct{}, by time.Time) {
	if by.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(by))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// Write sends b in pieces, and waits while the peer reads more slowly.
func (c *RoutedConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	sent := 0
	for sent < len(b) {
		n, err := c.allowance(min(len(b)-sent, routedChunk))
		if err != nil {
			return sent, err
		}
		if err := c.sendPiece(b[sent:sent+n], false); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// allowance waits until some of want bytes may be sent and takes them off the credit.
func (c *RoutedConn) allowance(want int) (int, error) {
	for {
		c.mu.Lock()
		changed, by := c.changed, c.sendBy
		var err error
		n := min(want, c.credit)
		switch {
		case c.closed:
			err = net.ErrClosed
		case expired(by):
			err = os.ErrDeadlineExceeded
		case errors.Is(c.err, io.EOF):
			err = io.ErrClosedPipe
		case c.err != nil:
			err = c.err
		case n > 0:
			c.credit -= n
		}
		c.mu.Unlock()
		if err != nil || n > 0 {
			return n, err
		}
		wait(changed, by)
	}
}

// sendPiece sends one piece, which becomes the next in order.
func (c *RoutedConn) sendPiece(data []byte, fin bool) error {
	c.sending.Lock()
	defer c.sending.Unlock()
	p := topology.Routed{
		From: c.self, To: c.peer, Stream: c.stream, Opener: c.opener, Seq: c.seq, Fin: fin, Hops: topology.MaxHops,
		Data: append([]byte(nil), data...), // Write may not keep its argument
	}
	c.seq++
	return c.send(p)
}

// Close tells the peer and ends both directions.
func (c *RoutedConn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.received = nil
	c.change()
	c.mu.Unlock()
	err := c.sendPiece(nil, true)
	// After the Fin: a grant that is on its way would be refused otherwise, and the refusal could overtake the Fin.
	if c.closing != nil {
		c.closing()
	}
	return err
}

// LocalAddr and RemoteAddr name nodes: there is no underlay address.
func (c *RoutedConn) LocalAddr() net.Addr { return nodeAddr(c.self) }

// RemoteAddr names the peer.
func (c *RoutedConn) RemoteAddr() net.Addr { return nodeAddr(c.peer) }

// SetDeadline limits reads and writes.
func (c *RoutedConn) SetDeadline(t time.Time) error { return c.setDeadlines(&c.readBy, &c.sendBy, t) }

// SetReadDeadline limits reads.
func (c *RoutedConn) SetReadDeadline(t time.Time) error { return c.setDeadlines(&c.readBy, nil, t) }

// SetWriteDeadline limits writes. It is looked at between pieces.
func (c *RoutedConn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(nil, &c.sendBy, t) }

func (c *RoutedConn) setDeadlines(read, write *time.Time, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if read != nil {
		*read = t
	}
	if write != nil {
		*write = t
	}
	c.change()
	return nil
}

// nodeAddr is a node as a net.Addr.
type nodeAddr topology.NodeID

// Network names the kind of address.
func (nodeAddr) Network() string { return "routed" }

// String returns the node's id.
func (a nodeAddr) String() string { return topology.NodeID(a).String() }
