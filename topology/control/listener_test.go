package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPortTaken(t *testing.T) {
	n := newNode(t, nil)
	l, err := n.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addrs()[0]
	_, err = n.Listen(context.Background(), "127.0.0.1:0", at.String())
	var p *PortError
	if !errors.As(err, &p) || !p.Taken || p.Port != at.Port() {
		t.Fatalf("got %v", err)
	}
	if want := fmt.Sprintf("port %d/tcp is taken (%s): set listen.port", at.Port(), at); err.Error() != want {
		t.Fatalf("got %q", err)
	}
	if _, err := n.Listen(context.Background(), "192.0.2.1:6783"); !errors.As(err, &p) || p.Taken ||
		err.Error() != "listen on 192.0.2.1:6783: cannot assign requested address" {
		t.Fatalf("got %v", err)
	}
}

func TestDualStack(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	l, err := b.Listen(context.Background(), ":0", "127.0.0.1:0") // also_tcp
	if err != nil {
		t.Fatal(err)
	}
	sessions := make(chan *Session)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Serve(ctx, func(s *Session) { sessions <- s }, nil) }()
	targets := []string{fmt.Sprintf("127.0.0.1:%d", l.Addrs()[0].Port()), l.Addrs()[1].String()}
	if addrs, err := net.InterfaceAddrs(); err == nil && strings.Contains(fmt.Sprint(addrs), "::1/128") {
		targets = append(targets, fmt.Sprintf("[::1]:%d", l.Addrs()[0].Port()))
	}
	for _, target := range targets {
		s, err := a.Dial(within(t, 5*time.Second), target)
		if err != nil {
			t.Fatal(err)
		}
		other := <-sessions
		if s.Remote != netip.MustParseAddrPort(target) || other.Remote != s.Local {
			t.Fatalf("%s: remote %v, at the other end %v", target, s.Remote, other.Remote)
		}
		s.Close("")
		other.Close("")
	}
	cancel()
	<-done
	if _, err := a.Dial(within(t, 5*time.Second), targets[0]); kindOf(err) != Unreachable {
		t.Fatalf("still there: %v", err)
	}
}

// TestDeadPeersAreNoticed: both ends of a connection have the time limits of TCP that we asked for.
func TestDeadPeersAreNoticed(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	_, target, sessions := serve(t, b)
	sa, err := a.Dial(within(t, 5*time.Second), target)
	if err != nil {
		t.Fatal(err)
	}
	defer sa.Close("")
	sb := <-sessions
	defer sb.Close("")
	for _, s := range []*Session{sa, sb} {
		raw, err := s.conn.meter.Conn.(*net.TCPConn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		var user, idle int
		if err := raw.Control(func(fd uintptr) {
			user, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
			idle, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		}); err != nil {
			t.Fatal(err)
		}
		if user != 20000 || idle != 15 {
			t.Fatalf("dialled %v: user timeout %d ms, idle %d s", s.Dialled, user, idle)
		}
	}
}

// TestServeEndsWithItsContext while connections are at every stage.
func TestServeEndsWithItsContext(t *testing.T) {
	n := newNode(t, nil)
	l, err := n.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Serve(ctx, func(s *Session) { s.Close("no") }, nil) }()
	hello := clientHello(t, knockConfig(newKnock(n.keys[0])))
	for _, first := range [][]byte{nil, hello[:50], hello} {
		conn, err := net.Dial("tcp", l.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write(first); err != nil {
			t.Fatal(err)
		}
		if len(first) == len(hello) { // now it is in the middle of TLS
			if _, err := conn.Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	cancel()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		t.Fatal("still serving")
	}
}

// TestMemberJoinsThroughFlood: strangers from many addresses hold connections open and knock at nothing; a member gets
// its session within two seconds, and the strangers cost little memory.
func TestMemberJoinsThroughFlood(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	l, target, sessions := serve(t, b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var mu sync.Mutex
	var flood []net.Conn
	defer func() {
		for _, c := range flood {
			c.Close()
		}
	}()
	hello := clientHello(t, knockConfig("beta.example"))
	var tasks sync.WaitGroup
	for host := range 30 {
		tasks.Go(func() {
			from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(host+1))}}
			for range 40 {
				conn, err := from.Dial("tcp", target)
				if err != nil {
					continue // the listener's queue is full: the flood works
				}
				_, _ = conn.Write(hello[:len(hello)-1]) // may be closed already
				mu.Lock()
				flood = append(flood, conn)
				mu.Unlock()
			}
		})
	}
	tasks.Wait()
	eventually(t, func() error {
		l.gate.mu.Lock()
		defer l.gate.mu.Unlock()
		if l.gate.open < maxHalfOpen-reservedHalfOpen {
			return fmt.Errorf("only %d half-open connections", l.gate.open)
		}
		return nil
	})
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc+after.StackInuse) - int64(before.HeapAlloc+before.StackInuse); grown > 8<<20 {
		t.Errorf("%d half-open connections cost %d kB", maxHalfOpen-reservedHalfOpen, grown>>10)
	} else {
		t.Logf("%d kB for %d half-open connections, of which this test's ends are a part", grown>>10, maxHalfOpen-reservedHalfOpen)
	}
	begin := time.Now()
	s, err := a.Dial(within(t, 5*time.Second), target)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close("")
	(<-sessions).Close("")
	if took := time.Since(begin); took > 2*time.Second {
		t.Fatalf("took %v", took)
	}
	counted := l.Strangers()
	if len(counted) < 25 {
		t.Fatalf("%d strangers counted", len(counted))
	}
}
