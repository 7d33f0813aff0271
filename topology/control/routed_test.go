package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"

	"github.com/weavewg/weavewg/topology"
)

// routedNet carries pieces between the Streams of a few nodes, one at a time and in order, as sessions do. Every piece
// passes the codec.
type routedNet struct {
	t      testing.TB
	pieces chan topology.Routed
	stop   chan struct{}
	done   chan struct{}
	nodes  map[topology.NodeID]*Streams
	change func(topology.Routed) []topology.Routed
}

func newRoutedNet(t testing.TB) *routedNet {
	return &routedNet{t: t, pieces: make(chan topology.Routed, 10000), stop: make(chan struct{}), done: make(chan struct{}), nodes: map[topology.NodeID]*Streams{}}
}

func (n *routedNet) send(p topology.Routed) error {
	b, err := topology.EncodeMessage(topology.Message{Routed: &p})
	if err != nil {
		n.t.Error(err)
		return err
	}
	m, err := topology.DecodeMessage(b)
	if err != nil {
		n.t.Error(err)
		return err
	}
	select {
	case n.pieces <- *m.Routed:
		return nil
	case <-n.stop:
		return net.ErrClosed
	}
}

func (n *routedNet) add(id topology.NodeID, accept func(*RoutedConn)) *Streams {
	s := NewStreams(id, n.send, accept)
	n.nodes[id] = s
	return s
}

// start carries until the test ends.
func (n *routedNet) start() {
	go func() {
		defer close(n.done)
		for {
			var p topology.Routed
			select {
			case p = <-n.pieces:
			case <-n.stop:
				return
			}
			all := []topology.Routed{p}
			if n.change != nil {
				all = n.change(p)
			}
			for _, p := range all {
				if s := n.nodes[p.To]; s != nil {
					s.Deliver(p)
				}
			}
		}
	}()
	n.t.Cleanup(func() {
		for _, s := range n.nodes {
			s.Close()
		}
		close(n.stop)
		<-n.done
	})
}

// ends returns the two ends of a stream between nodes 1 and 2; the opener has written "hi".
func (n *routedNet) ends() (*RoutedConn, *RoutedConn) {
	n.t.Helper()
	accepted := make(chan *RoutedConn, 1)
	one := n.add(topology.NodeID{1}, func(*RoutedConn) { n.t.Error("node 1 accepts") })
	n.add(topology.NodeID{2}, func(c *RoutedConn) { accepted <- c })
	n.start()
	a, err := one.Open(topology.NodeID{2})
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := a.Write([]byte("hi")); err != nil {
		n.t.Fatal(err)
	}
	b := <-accepted
	if _, err := io.ReadFull(b, make([]byte, 2)); err != nil {
		n.t.Fatal(err)
	}
	return a, b
}

func TestRoutedBytes(t *testing.T) {
	a, b := newRoutedNet(t).ends()
	text := bytes.Repeat([]byte("0123456789abcdef"), 40<<10/16*10) // 400 kB
	go func() {
		_, _ = a.Write(text)
		a.Close()
	}()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, text) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Fatalf("after the end: %v", err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("after close: %v", err)
	}
	if _, err := b.Write([]byte{1}); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("after close: %v", err)
	}
}

// TestSessionOverRouted: the same handshake, and no underlay address.
func TestSessionOverRouted(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	n := newRoutedNet(t)
	accepted := make(chan result, 1)
	n.add(b.identity.ID(), func(c *RoutedConn) {
		go func() {
			s, err := b.Respond(context.Background(), c)
			accepted <- result{s, err}
		}()
	})
	own := n.add(a.identity.ID(), nil)
	n.start()
	c, err := own.Open(b.identity.ID())
	if err != nil {
		t.Fatal(err)
	}
	sa, err := a.Initiate(within(t, 5*time.Second), c)
	if err != nil {
		t.Fatal(err)
	}
	rb := <-accepted
	if rb.err != nil {
		t.Fatal(rb.err)
	}
	if sa.Export != rb.session.Export || sa.Remote.IsValid() || sa.Local.IsValid() || rb.session.Remote.IsValid() {
		t.Fatalf("%v %v", sa.Remote, rb.session.Remote)
	}
	ctx := within(t, 5*time.Second)
	if err := sa.Send(ctx, ping(5)); err != nil {
		t.Fatal(err)
	}
	if m, err := rb.session.Receive(ctx); err != nil || m.Ping.Nonce != 5 {
		t.Fatal(err)
	}
	sa.Close("over")
	if _, err := rb.session.Receive(ctx); err != nil { // the goodbye
		t.Fatal(err)
	}
	if _, err := rb.session.Receive(ctx); err == nil || err.Error() != "closed by the peer: over" {
		t.Fatal(err)
	}
	rb.session.Close("")
	eventually(t, func() error {
		for _, s := range n.nodes {
			s.mu.Lock()
			left := len(s.open) + len(s.byPeer)
			s.mu.Unlock()
			if left > 0 {
				return errors.New("streams left over")
			}
		}
		return nil
	})
}

func TestRoutedLoss(t *testing.T) {
	for name, change := range map[string]func(topology.Routed) []topology.Routed{
		"lost":     func(topology.Routed) []topology.Routed { return nil },
		"doubled":  func(p topology.Routed) []topology.Routed { return []topology.Routed{p, p} },
		"replayed": func(p topology.Routed) []topology.Routed { p.Seq--; return []topology.Routed{p} },
	} {
		t.Run(name, func(t *testing.T) {
			n := newRoutedNet(t)
			n.change = func(p topology.Routed) []topology.Routed {
				if p.Seq == 3 && !p.Fin {
					return change(p)
				}
				return []topology.Routed{p}
			}
			a, b := n.ends()
			for range 5 {
				if _, err := a.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.ReadAll(b); err == nil || !strings.Contains(err.Error(), "lost a piece") {
				t.Fatalf("got %v", err)
			}
		})
	}
}

// TestRoutedSlowReader holds the writer back, and a writer that does not care is cut off.
func TestRoutedSlowReader(t *testing.T) {
	a, b := newRoutedNet(t).ends()
	if err := a.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	sent, err := a.Write(make([]byte, 2*routedWindow))
	if !errors.Is(err, os.ErrDeadlineExceeded) || sent != routedWindow-2 {
		t.Fatalf("%d bytes, %v", sent, err)
	}
	if err := a.SetWriteDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = a.Write(make([]byte, 4*routedWindow))
		a.Close()
	}()
	if got, err := io.ReadAll(b); err != nil || len(got) != sent+4*routedWindow {
		t.Fatalf("%d bytes, %v", len(got), err)
	}

	rude := NewRoutedConn(topology.NodeID{1}, topology.NodeID{2}, 1, false, func(topology.Routed) error { return nil })
	for i := range uint64(100) {
		rude.Deliver(topology.Routed{Seq: i, Opener: true, Data: make([]byte, routedChunk)})
		if len(rude.received) > routedWindow {
			t.Fatalf("%d bytes wait", len(rude.received))
		}
	}
	if _, err := io.ReadAll(rude); err == nil || !strings.Contains(err.Error(), "more than it was allowed") {
		t.Fatalf("got %v", err)
	}
}

func TestRoutedRefusals(t *testing.T) {
	n := newRoutedNet(t)
	one := n.add(topology.NodeID{1}, nil)
	n.add(topology.NodeID{2}, func(*RoutedConn) {}) // nobody closes what it accepts
	n.start()
	var open []*RoutedConn
	for range maxPeerStreams {
		c, err := one.Open(topology.NodeID{2})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
	}
	if _, err := one.Open(topology.NodeID{2}); !errors.Is(err, ErrTooManyStreams) {
		t.Fatalf("got %v", err)
	}
	for _, id := range []topology.NodeID{{}, {1}} {
		if _, err := one.Open(id); err == nil {
			t.Fatalf("opened a stream to %s", id)
		}
	}
	// A slot is free here, none there: the other end refuses.
	open[0].closing() // forget it here without telling
	c, err := one.Open(topology.NodeID{2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "takes no routed stream") {
		t.Fatalf("got %v", err)
	}
	// A piece of a stream that is long gone is refused too, in both directions; a refusal is not.
	for _, p := range []topology.Routed{
		{From: topology.NodeID{1}, To: topology.NodeID{2}, Stream: 77, Opener: true, Seq: 9},
		{From: topology.NodeID{1}, To: topology.NodeID{2}, Stream: 78, Opener: false, Seq: 9},
		{From: topology.NodeID{1}, To: topology.NodeID{2}, Stream: 79, Opener: true, Seq: 0, Fin: true},
		{From: topology.NodeID{1}, To: topology.NodeID{2}, Stream: 80, Opener: false, Seq: 0, Fin: true},
	} {
		var sent []topology.Routed
		s := NewStreams(topology.NodeID{2}, func(p topology.Routed) error { sent = append(sent, p); return nil }, nil)
		s.Deliver(p)
		if p.Fin {
			if len(sent) > 0 {
				t.Fatalf("answered a Fin with %+v", sent)
			}
			continue
		}
		if len(sent) != 1 || !sent[0].Fin || sent[0].Opener == p.Opener || sent[0].To != p.From || sent[0].Stream != p.Stream {
			t.Fatalf("%+v answered with %+v", p, sent)
		}
	}
}

func TestRoutedDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewRoutedConn(topology.NodeID{1}, topology.NodeID{2}, 1, true, func(topology.Routed) error { return nil })
		begin := time.Now()
		if err := c.SetReadDeadline(begin.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Second {
			t.Fatalf("%v after %v", err, time.Since(begin))
		}
		// A deadline that is moved wakes who waits already.
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error)
		go func() { _, err := c.Read(make([]byte, 1)); failed <- err }()
		synctest.Wait()
		if err := c.SetDeadline(time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if c.LocalAddr().Network() != "routed" || c.RemoteAddr().String() != (topology.NodeID{2}).String() {
			t.Fatal(c.LocalAddr(), c.RemoteAddr())
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRoutedConnIsANetConn runs the Go project's own conformance test.
func TestRoutedConnIsANetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		one, two := topology.NodeID{1}, topology.NodeID{2}
		var a, b *RoutedConn
		a = NewRoutedConn(one, two, 1, true, func(p topology.Routed) error { b.Deliver(p); return nil })
		b = NewRoutedConn(two, one, 1, false, func(p topology.Routed) error { a.Deliver(p); return nil })
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}
