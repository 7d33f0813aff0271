package control

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weavewg/weavewg/topology"
)

func ping(n uint64) topology.Message { return topology.Message{Ping: &topology.Ping{Nonce: n}} }

func TestSessionOverPipe(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	sa, sb := pair(t, a, b)
	if sa.Peer != b.identity.ID() || sb.Peer != a.identity.ID() {
		t.Fatalf("peers %s, %s", sa.Peer, sb.Peer)
	}
	if sa.Export != sb.Export || sa.Export == [32]byte{} {
		t.Fatal("exports differ")
	}
	if !sa.Dialled || sb.Dialled {
		t.Fatal("who dialled")
	}
	ctx := within(t, 5*time.Second)
	for i := range uint64(100) {
		if err := sa.Send(ctx, ping(i)); err != nil {
			t.Fatal(err)
		}
		if m, err := sb.Receive(ctx); err != nil || m.Ping == nil || m.Ping.Nonce != i {
			t.Fatalf("received %+v, %v", m, err)
		}
	}
	if err := sb.Send(ctx, ping(7)); err != nil {
		t.Fatal(err)
	}
	sb.Close("tired")
	if m, err := sa.Receive(ctx); err != nil || m.Ping == nil {
		t.Fatalf("what was sent before Close: %+v, %v", m, err)
	}
	if m, err := sa.Receive(ctx); err != nil || m.Bye == nil || m.Bye.Reason != "tired" {
		t.Fatalf("goodbye: %+v, %v", m, err)
	}
	if _, err := sa.Receive(ctx); err == nil || !strings.Contains(err.Error(), "closed by the peer: tired") {
		t.Fatalf("end: %v", err)
	}
	if err := sb.Send(ctx, ping(1)); !errors.Is(err, ErrClosed) {
		t.Fatalf("send after close: %v", err)
	}
}

func TestSessionOverTCP(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	_, target, sessions := serve(t, b)
	ctx := within(t, 5*time.Second)
	sa, err := a.Dial(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	defer sa.Close("")
	sb := <-sessions
	defer sb.Close("")
	if sa.Remote.String() != target || sb.Local.String() != target || sa.Local != sb.Remote {
		t.Fatalf("addresses %v %v %v %v", sa.Remote, sb.Local, sa.Local, sb.Remote)
	}
	if err := sa.Send(ctx, ping(3)); err != nil {
		t.Fatal(err)
	}
	if m, err := sb.Receive(ctx); err != nil || m.Ping.Nonce != 3 {
		t.Fatalf("%+v %v", m, err)
	}
}

// TestBrokenMessages writes bytes of its own making into a session: the other end says why it closes.
func TestBrokenMessages(t *testing.T) {
	frame := func(body ...byte) []byte { return appendFrame(nil, body) }
	deep := make([]byte, 1000)
	for i := range deep {
		deep[i] = 0x81
	}
	for _, c := range []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"length 0", []byte{0, 0, 0, 0}, "frame of 0 bytes"},
		{"length 2^32-1", []byte{255, 255, 255, 255}, "frame of 4294967295 bytes, want 1 to 64000"},
		{"one too long", binary.BigEndian.AppendUint32(nil, topology.MaxMessage+1), "frame of 64001 bytes"},
		{"not CBOR", frame(0xff, 0xff), "message: "},
		{"not a map", frame(0x01), "message: "},
		{"trailing bytes", frame(0xa0, 0x00), "message: "},
		{"depth bomb", frame(deep...), "message: "},
		{"two fields", frame(0xa2, 0x06, 0xa2, 1, 1, 2, 2, 0x07, 0xa2, 1, 1, 2, 2), "2 fields"},
		{"array of 2^63", frame(0xa1, 0x02, 0x9b, 0x80, 0, 0, 0, 0, 0, 0, 0), "message: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			sa, sb := pair(t, newNode(t, nil), newNode(t, nil))
			if _, err := sa.conn.conn.Write(c.bytes); err != nil {
				t.Fatal(err)
			}
			ctx := within(t, 5*time.Second)
			if m, err := sb.Receive(ctx); err == nil || !strings.Contains(err.Error(), "peer breaks the protocol: "+c.want) && !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%+v, %v", m, err)
			}
			m, err := sa.Receive(ctx)
			if err != nil || m.Bye == nil || !strings.HasPrefix(m.Bye.Reason, "protocol: ") {
				t.Fatalf("told %+v, %v", m, err)
			}
		})
	}
}

// TestUnknownMessageIsSkipped: what a newer node says does not hurt.
func TestUnknownMessageIsSkipped(t *testing.T) {
	sa, sb := pair(t, newNode(t, nil), newNode(t, nil))
	if _, err := sa.conn.conn.Write(appendFrame(nil, []byte{0xa1, 0x18, 0x40, 0x01})); err != nil { // {64: 1}
		t.Fatal(err)
	}
	ctx := within(t, 5*time.Second)
	if err := sa.Send(ctx, ping(1)); err != nil {
		t.Fatal(err)
	}
	if m, err := sb.Receive(ctx); err != nil || m.Ping == nil {
		t.Fatalf("%+v, %v", m, err)
	}
}

func TestTruncatedStream(t *testing.T) {
	sa, sb := pair(t, newNode(t, nil), newNode(t, nil))
	if _, err := sa.conn.conn.Write([]byte{0, 0, 0, 9, 1}); err != nil {
		t.Fatal(err)
	}
	sa.conn.meter.Close()
	_, err := sb.Receive(within(t, 5*time.Second))
	if err == nil || !strings.Contains(err.Error(), "connection") {
		t.Fatalf("got %v", err)
	}
	if sb.Err() == nil {
		t.Fatal("no error kept")
	}
	select {
	case <-sb.Done():
	default:
		t.Fatal("not done")
	}
}

func bigMessage() topology.Message {
	return topology.Message{Routed: &topology.Routed{From: topology.NodeID{1}, To: topology.NodeID{2}, Data: make([]byte, 30000), Hops: 3}}
}

// TestPeerThatTakesNothing loses its session after ten seconds, and until then costs a bounded queue.
func TestPeerThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sa, sb := pair(t, newNode(t, nil), newNode(t, nil))
		begin := time.Now()
		queued := 0
		var err error
		for err == nil && queued < 100<<20 {
			if err = sa.Send(context.Background(), bigMessage()); err == nil {
				queued += 30000
			}
		}
		if took := time.Since(begin); err == nil || took < 10*time.Second || took > 11*time.Second {
			t.Fatalf("%v after %v", err, took)
		}
		if !strings.Contains(sa.Err().Error(), "peer does not take messages") {
			t.Fatal(sa.Err())
		}
		if limit := 2*maxQueued + (inboxSize+3)*30000; queued > limit {
			t.Fatalf("%d bytes queued, at most %d", queued, limit)
		}
		sb.Close("")
	})
}

func TestSendGivesUpWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sa, _ := pair(t, newNode(t, nil), newNode(t, nil))
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var err error
		for err == nil {
			err = sa.Send(ctx, bigMessage())
		}
		if !errors.Is(err, context.DeadlineExceeded) || sa.Err() != nil {
			t.Fatalf("%v, %v", err, sa.Err())
		}
	})
}

// TestCloseIsBounded although the peer neither reads nor answers.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newNode(t, nil), newNode(t, nil)
		ca, cb := net.Pipe()
		ra, rb := meetOver(t, a, b, ca, cb)
		if ra.err != nil || rb.err != nil {
			t.Fatal(ra.err, rb.err)
		}
		for range 30 {
			if err := ra.session.Send(context.Background(), bigMessage()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		begin := time.Now()
		ra.session.Close("bye")
		ra.session.Close("again")
		if took := time.Since(begin); took > farewell {
			t.Fatalf("took %v", took)
		}
		rb.session.Close("")
	})
}

// TestManySenders: messages of one sender stay in order, none is lost, and small ones share writes.
func TestManySenders(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	ca, cb := tcpPair(t)
	counted := &countingConn{Conn: ca}
	ra, rb := meetOver(t, a, b, counted, cb)
	defer closeBoth(ra, rb)
	if ra.err != nil || rb.err != nil {
		t.Fatal(ra.err, rb.err)
	}
	ctx := within(t, 20*time.Second)
	const senders, each = 8, 500
	for sender := range uint64(senders) {
		go func() {
			for i := range uint64(each) {
				if err := ra.session.Send(ctx, ping(sender<<32|i)); err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	next := make([]uint64, senders)
	for range senders * each {
		m, err := rb.session.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		sender, i := m.Ping.Nonce>>32, m.Ping.Nonce&0xffffffff
		if next[sender] != i {
			t.Fatalf("sender %d: %d came, %d was due", sender, i, next[sender])
		}
		next[sender]++
	}
	counted.mu.Lock()
	defer counted.mu.Unlock()
	if counted.writes > senders*each/2 {
		t.Errorf("%d writes for %d messages", counted.writes, senders*each)
	}
	if in, out := ra.session.Traffic(); in == 0 || out < senders*each*8 {
		t.Errorf("traffic %d, %d", in, out)
	}
}

type countingConn struct {
	net.Conn
	mu     sync.Mutex
	writes int
}

func (c *countingConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.writes++
	c.mu.Unlock()
	return c.Conn.Write(b)
}

// TestBothCloseAtOnce and with traffic both ways, over TCP: neither waits for the other.
func TestBothCloseAtOnce(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	for range 20 {
		ca, cb := tcpPair(t)
		ra, rb := meetOver(t, a, b, ca, cb)
		if ra.err != nil || rb.err != nil {
			t.Fatal(ra.err, rb.err)
		}
		var tasks sync.WaitGroup
		begin := time.Now()
		for _, s := range []*Session{ra.session, rb.session} {
			tasks.Go(func() { s.Close("both") })
			tasks.Go(func() {
				for s.Send(context.Background(), ping(1)) == nil {
					if s.Err() != nil {
						return
					}
				}
			})
		}
		tasks.Wait()
		if took := time.Since(begin); took > farewell+time.Second {
			t.Fatalf("took %v", took)
		}
	}
}

func TestByeOfTheCallerIsTheLast(t *testing.T) {
	sa, sb := pair(t, newNode(t, nil), newNode(t, nil))
	ctx := within(t, 5*time.Second)
	if err := sa.Send(ctx, topology.Message{Bye: &topology.Bye{Reason: "full", Full: true}}); err != nil {
		t.Fatal(err)
	}
	if err := sa.Send(ctx, ping(1)); !errors.Is(err, ErrClosed) {
		t.Fatalf("send after the goodbye: %v", err)
	}
	sa.Close("another reason")
	if m, err := sb.Receive(ctx); err != nil || m.Bye == nil || !m.Bye.Full {
		t.Fatalf("%+v, %v", m, err)
	}
	if m, err := sb.Receive(ctx); err == nil || fmt.Sprint(err) != "closed by the peer: full" {
		t.Fatalf("%+v, %v", m, err)
	}
}

// TestGoodbyeArrives although this end has not read what the peer sent: a reset of the connection would discard it.
func TestGoodbyeArrives(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	for range 5 {
		ca, cb := tcpPair(t)
		ra, rb := meetOver(t, a, b, ca, cb)
		if ra.err != nil || rb.err != nil {
			t.Fatal(ra.err, rb.err)
		}
		ctx := within(t, 10*time.Second)
		for range inboxSize + 20 {
			if err := rb.session.Send(ctx, bigMessage()); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, func() error { // more has arrived than is taken
			if len(ra.session.inbox) < inboxSize {
				return errors.New("nothing waits")
			}
			return nil
		})
		ra.session.Close("tired")
		if m, err := rb.session.Receive(ctx); err != nil || m.Bye == nil || m.Bye.Reason != "tired" {
			t.Fatalf("%+v, %v", m, err)
		}
		rb.session.Close("")
	}
}
