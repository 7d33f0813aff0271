package control

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var testBinding = [BindingSize]byte{1, 2, 3, 15: 16}

// serveStreams runs a listener that admits what admit admits, until the test ends.
func serveStreams(t *testing.T, admit func(PeerHello) error) (*testNode, string, <-chan *Session, <-chan *Stream) {
	t.Helper()
	n := newNode(t, func(c *Config) { c.AdmitStream = admit })
	l, err := n.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sessions, streams := make(chan *Session, 16), make(chan *Stream, 16)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Serve(ctx, func(s *Session) { sessions <- s }, func(s *Stream) { streams <- s })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return n, l.Addrs()[0].String(), sessions, streams
}

func TestStreams(t *testing.T) {
	for name, proxied := range map[string]bool{"direct": false, "through a proxy": true} {
		t.Run(name, func(t *testing.T) {
			var asked PeerHello
			b, target, sessions, streams := serveStreams(t, func(p PeerHello) error { asked = p; return nil })
			a := newNode(t, func(c *Config) {
				c.Admit = func(PeerHello) error { return errors.New("sessions only") }
				if proxied {
					proxy, _ := proxyServer(t, "")
					c.Proxy = func(string) (*url.URL, error) { return proxy, nil }
				}
			})
			near, err := a.DialCarrier(within(t, 5*time.Second), target, testBinding)
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			far := <-streams
			defer far.Close()
			if asked.ID != a.identity.id || asked.Carry == nil || *asked.Carry != testBinding || asked.Dialled {
				t.Errorf("was asked about %+v", asked)
			}
			if near.Peer != b.identity.id || far.Peer != a.identity.id || near.Binding != testBinding || far.Binding != testBinding ||
				!near.Dialled || far.Dialled || near.Remote.IsValid() == proxied {
				t.Errorf("%+v, %+v", near, far)
			}
			for _, s := range []*Stream{near, far} {
				checkTCP(t, s)
			}
			message := strings.Repeat("ciphertext ", 10000)
			for _, ends := range [][2]*Stream{{near, far}, {far, near}} {
				go func() { _, _ = io.WriteString(ends[0], message) }()
				got := make([]byte, len(message))
				if _, err := io.ReadFull(ends[1], got); err != nil || string(got) != message {
					t.Fatal("damaged", err)
				}
			}
			if in, out := near.Traffic(); in < uint64(len(message)) || out < uint64(len(message)) {
				t.Errorf("traffic %d, %d", in, out)
			}
			near.Close()
			if _, err := far.Read(make([]byte, 1)); err == nil || isTimeout(err) {
				t.Errorf("after the end: %v", err)
			}
			if s, err := newNode(t, nil).Dial(within(t, 5*time.Second), target); err != nil {
				t.Errorf("a session beside it: %v", err)
			} else {
				(<-sessions).Close("")
				s.Close("")
			}
		})
	}
}

// checkTCP: nothing waits on the way for longer than it must.
func checkTCP(t *testing.T, s *Stream) {
	t.Helper()
	conn := s.meter.Conn
	if tunnel, ok := conn.(*tunnelConn); ok {
		conn = tunnel.Conn
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for option, want := range map[int]int{unix.TCP_NODELAY: 1, unix.TCP_NOTSENT_LOWAT: maxUnsent, unix.TCP_USER_TIMEOUT: 20000} {
		var got int
		if err := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, option) }); err != nil || got != want {
			t.Errorf("TCP option %d is %d, want %d: %v", option, got, want, err)
		}
	}
}

func TestStreamsAreRefused(t *testing.T) {
	for want, admit := range map[string]func(PeerHello) error{
		"this node carries no tunnels over TCP": nil,
		"no binding of that name":               func(PeerHello) error { return errors.New("no binding of that name") },
		"full":                                  func(PeerHello) error { return &Error{Kind: Unreachable, Reason: "full"} },
	} {
		b, target, _, streams := serveStreams(t, admit)
		s, err := newNode(t, nil).DialCarrier(within(t, 5*time.Second), target, testBinding)
		if s != nil || kindOf(err) != Refused || !strings.HasSuffix(err.Error(), "refused by "+b.identity.id.Short()+": "+want) {
			t.Errorf("%v, want %q", err, want)
		}
		if e, _ := errors.AsType[*Error](err); e.Peer != b.identity.id {
			t.Errorf("refused by %v", e.Peer)
		}
		if len(streams) > 0 {
			t.Error("handed out a stream that was refused")
		}
	}
	// What runs over neighbours' sessions is for sessions.
	a, b := newNode(t, nil), newNode(t, func(c *Config) { c.AdmitStream = func(PeerHello) error { return nil } })
	ca, cb := net.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := b.Respond(context.Background(), cb)
		done <- err
	}()
	_, err := a.open(context.Background(), ca, &testBinding)
	if other := <-done; kindOf(err) != Refused || kindOf(other) != Refused {
		t.Errorf("%v, %v", err, other)
	}
}

// TestStreamToAnOldNode: a node that does not know streams is told no, and does not make a session of it.
func TestStreamToAnOldNode(t *testing.T) {
	a, old := newNode(t, nil), newNode(t, nil)
	ours, theirs := tcpPair(t)
	heard := make(chan error, 1)
	go func() { heard <- old.acceptAsBefore(theirs) }()
	_, err := a.open(within(t, 5*time.Second), ours, &testBinding)
	if kindOf(err) != Refused || !strings.Contains(err.Error(), "too old to carry tunnels") {
		t.Errorf("the dialler: %v", err)
	}
	if err := <-heard; kindOf(err) != Refused || !strings.Contains(err.Error(), "too old to carry tunnels") {
		t.Errorf("the old node: %v", err)
	}
}

// acceptAsBefore is the acceptor's side of the handshake without streams.
func (n *testNode) acceptAsBefore(conn net.Conn) error {
	m := &meter{Conn: conn}
	if err := n.awaitKnock(m); err != nil {
		return err
	}
	s, err := n.secure(tls.Server(m, n.tls), false)
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(s.conn, make([]byte, exportSize)); err != nil {
		return err
	}
	own := n.hello.wire()
	own.Features = 0
	hello, err := encodeHello(own)
	if err != nil {
		return err
	}
	if _, err := s.conn.Write(appendFrame(n.proof(s, n.keys[0], acceptor), hello)); err != nil {
		return err
	}
	var theirs struct { // what it knew of a hello
		Features uint64 `cbor:"3,keyasint"`
		Port     uint16 `cbor:"5,keyasint"`
	}
	if err := receive(s.conn, &theirs); err != nil {
		return err
	}
	return hearVerdict(s, n.identity.id)
}

func TestBindingOfAnotherLength(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	for n, want := range map[int]Kind{0: 0, 1: Refused, 15: Refused, 16: 0, 17: Refused} {
		hello := b.hello.wire()
		hello.Carry = make([]byte, n)
		peer, err := meet(a.hello, a.identity, b.identity.Public(), hello, a.notary)
		if kindOf(err) != want || (peer.Carry != nil) != (n == 16) {
			t.Errorf("%d bytes: %v, %v", n, peer.Carry, err)
		}
	}
}
