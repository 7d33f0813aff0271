package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// answer sends first to a node's listener and returns all that comes back, and after what time.
func answer(t *testing.T, target string, first []byte) (string, time.Duration) {
	t.Helper()
	conn, err := net.Dial("tcp", target)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	begin := time.Now()
	if _, err := conn.Write(first); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadDeadline(begin.Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if isTimeout(err) {
		t.Fatal("not closed")
	}
	return string(got), time.Since(begin)
}

func TestStrangersGetNoByte(t *testing.T) {
	node := newNode(t, func(c *Config) { c.Timeout = 500 * time.Millisecond })
	l, target, sessions := serve(t, node)
	home := keysOf(t, "home", secretA)[0]
	used := clientHello(t, knockConfig(newKnock(home)))
	if got, _ := answer(t, target, used); got == "" {
		t.Fatal("no answer to a knock")
	}
	tls12 := knockConfig("beta.example")
	tls12.MaxVersion = tls.VersionTLS12
	good := clientHello(t, knockConfig(newKnock(home)))
	cases := map[string][]byte{
		"silence":                 nil,
		"one byte":                {22},
		"garbage":                 []byte("\x00\x01\x02\x03 garbage \xff\xfe\xfd"),
		"HTTP":                    []byte("GET / HTTP/1.1\r\nHost: beta.example\r\n\r\n"),
		"SSH banner":              []byte("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"),
		"TLS without a name":      clientHello(t, &tls.Config{InsecureSkipVerify: true}),
		"TLS without the knock":   clientHello(t, knockConfig("beta.example")),
		"TLS 1.2":                 clientHello(t, tls12),
		"knock of another mesh":   clientHello(t, knockConfig(newKnock(keysOf(t, "work", secretA)[0]))),
		"knock of another secret": clientHello(t, knockConfig(newKnock(keysOf(t, "home", secretB)[0]))),
		"replayed knock":          used,
		"hello of 5 kB":           append([]byte{22, 3, 1, 0x0f, 0xff, 1, 0, 0x0f, 0xfb}, make([]byte, 5000)...),
		"hello in 2,000 records":  inRecords(append(make([]byte, 5), make([]byte, 2000)...), 1),
		"half a good hello":       good[:len(good)/2],
	}
	for name, first := range cases {
		t.Run(name, func(t *testing.T) {
			got, after := answer(t, target, first)
			if got != "" {
				t.Fatalf("answered %q", got)
			}
			if after > 2*time.Second {
				t.Fatalf("closed after %v only", after)
			}
		})
	}
	select {
	case <-sessions:
		t.Fatal("a stranger got a session")
	default:
	}
	eventually(t, func() error { // the connection is closed before it is counted
		counted := l.Strangers()
		if len(counted) != 1 || counted[0].Connections != uint64(len(cases)) || counted[0].Addr.String() != "127.0.0.1" ||
			counted[0].Prefix.String() != "127.0.0.1/32" || time.Since(counted[0].Last) > time.Minute {
			return fmt.Errorf("counted %+v, want %d connections", counted, len(cases))
		}
		return nil
	})
}

// TestStallsAtEachByteOfTheKnock: the time limit is one for the whole, so neither a stall nor a byte now and then helps.
func TestStallsAtEachByteOfTheKnock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newNode(t, nil)
		hello := clientHello(t, knockConfig(newKnock(keysOf(t, "home", secretA)[0])))
		for i := range len(hello) - 1 {
			ours, theirs := net.Pipe()
			begin := time.Now()
			var got []byte
			var tasks sync.WaitGroup
			tasks.Go(func() { got, _ = io.ReadAll(ours) })
			tasks.Go(func() { _, _ = ours.Write(hello[:i]) })
			_, err := node.Respond(context.Background(), theirs)
			if !errors.Is(err, ErrNoKnock) || time.Since(begin) != HandshakeTimeout {
				t.Fatalf("stall at byte %d: %v after %v", i, err, time.Since(begin))
			}
			ours.Close()
			tasks.Wait()
			if len(got) != 0 {
				t.Fatalf("stall at byte %d: answered %q", i, got)
			}
		}
	})
}

func TestOneByteNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := newNode(t, nil)
		hello := clientHello(t, knockConfig(newKnock(keysOf(t, "home", secretA)[0])))
		ours, theirs := net.Pipe()
		var tasks sync.WaitGroup
		tasks.Go(func() {
			for _, c := range hello {
				if _, err := ours.Write([]byte{c}); err != nil {
					return
				}
				<-time.After(time.Second)
			}
		})
		begin := time.Now()
		if _, err := node.Respond(context.Background(), theirs); !isTimeout(err) || time.Since(begin) != HandshakeTimeout {
			t.Fatalf("%v after %v", err, time.Since(begin))
		}
		ours.Close()
		tasks.Wait()
	})
}

// stallingConn passes the first bytes that are written and then none, as if the network had died.
type stallingConn struct {
	net.Conn
	left int
}

func (c *stallingConn) Write(b []byte) (int, error) {
	if len(b) <= c.left {
		c.left -= len(b)
		return c.Conn.Write(b)
	}
	if _, err := c.Conn.Write(b[:c.left]); err != nil {
		return 0, err
	}
	c.left = 0
	return len(b), nil // into the void
}

// TestStallsLaterInTheHandshake cuts off a real dialler, then a real acceptor, after so many bytes.
func TestStallsLaterInTheHandshake(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	ca, cb := net.Pipe()
	ra, rb := meetOver(t, a, b, ca, cb)
	if ra.err != nil || rb.err != nil {
		t.Fatal(ra.err, rb.err)
	}
	in, out := rb.session.Traffic()
	rb.session.Close("")
	ra.session.Close("")

	synctest.Test(t, func(t *testing.T) {
		for _, side := range []string{"dialler", "acceptor"} {
			whole := int(in)
			if side == "acceptor" {
				whole = int(out)
			}
			// The size of a signature varies with nothing, so whole is right; the last bytes are the verdict.
			for i := 0; i < whole; i += 61 {
				ca, cb := net.Pipe()
				var da, db net.Conn = &stallingConn{ca, i}, cb
				if side == "acceptor" {
					da, db = ca, &stallingConn{cb, i}
				}
				begin := time.Now()
				var ra, rb result
				var tasks sync.WaitGroup
				tasks.Go(func() { ra.session, ra.err = a.Initiate(context.Background(), da) })
				tasks.Go(func() { rb.session, rb.err = b.Respond(context.Background(), db) })
				tasks.Wait()
				if ra.err == nil || rb.err == nil && side == "dialler" {
					t.Fatalf("%s stalls after %d of %d bytes: %v, %v", side, i, whole, ra.err, rb.err)
				}
				if rb.session != nil {
					rb.session.Close("")
				}
				if after := time.Since(begin); after > HandshakeTimeout+farewell {
					t.Fatalf("%s stalls after %d bytes: closed after %v", side, i, after)
				}
			}
		}
	})
}

// TestMeterStops a peer that sends much before the handshake is over, and no one after it.
func TestMeterStops(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	go func() {
		for {
			if _, err := theirs.Write(make([]byte, 1000)); err != nil {
				return
			}
		}
	}()
	m := &meter{Conn: ours}
	defer m.Close()
	if n, err := io.Copy(io.Discard, m); n != maxUnproven || !errors.Is(err, errTooMuch) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	m.open.Store(true)
	if n, err := io.CopyN(io.Discard, m, 1<<20); err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

func TestHalfClose(t *testing.T) {
	node := newNode(t, nil)
	_, target, _ := serve(t, node)
	hello := clientHello(t, knockConfig(newKnock(keysOf(t, "home", secretA)[0])))
	for _, first := range [][]byte{nil, hello[:100], hello} {
		conn, err := net.Dial("tcp", target)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(first); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(conn) // until closed
		if len(first) != len(hello) && len(got) > 0 || time.Since(begin) > 2*time.Second {
			t.Fatalf("%d bytes, half closed: %d bytes back after %v", len(first), len(got), time.Since(begin))
		}
		conn.Close()
	}
}

// TestDiallerSaysWhatItMet gives a dialler everything that is not a node of its mesh.
func TestDiallerSaysWhatItMet(t *testing.T) {
	patient := newNode(t, nil)
	hasty := newNode(t, func(c *Config) { c.Timeout = 300 * time.Millisecond })
	_, otherSecret, _ := serve(t, newNode(t, nil, secretB))
	_, otherMesh, _ := serve(t, newNode(t, func(c *Config) { c.Mesh = "work" }))
	server := func(f func(net.Conn)) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				f(conn)
				conn.Close()
			}
		}()
		t.Cleanup(func() { l.Close(); <-done })
		return l.Addr().String()
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := free.Addr().String()
	free.Close()
	for _, c := range []struct {
		name, target string
		kind         Kind
		want         string
	}{
		{"other secret", otherSecret, Silent, " closed without an answer: other mesh name or secret?"},
		{"other mesh", otherMesh, Silent, " closed without an answer: other mesh name or secret?"},
		{"nobody", nobody, Unreachable, " unreachable: connection refused"},
		{"no name", "no-such-host.invalid:6783", Unreachable, " unreachable: lookup no-such-host.invalid"},
		{"no port", "127.0.0.1", Unreachable, " unreachable: address 127.0.0.1: missing port"},
		{"SSH", server(func(c net.Conn) { fmt.Fprint(c, "SSH-2.0-OpenSSH_9.2\r\n"); _, _ = io.ReadAll(c) }), Silent, "not as a node of this mesh"},
		{"HTTP", server(func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 400 Bad Request\r\n\r\n"); _, _ = io.ReadAll(c) }), Silent, "not as a node of this mesh"},
		{"black hole", server(func(c net.Conn) { _, _ = io.ReadAll(c) }), Silent, "did not answer"},
		{"endless", server(func(c net.Conn) {
			for {
				if _, err := c.Write([]byte{22, 3, 3, 0, 1, 2}); err != nil {
					return
				}
			}
		}), Silent, "not as a node of this mesh"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := patient
			if c.name == "black hole" {
				a = hasty
			}
			_, err := a.Dial(within(t, 10*time.Second), c.target)
			var e *Error
			if !errors.As(err, &e) || e.Kind != c.kind || !strings.HasPrefix(err.Error(), c.target) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v (%v)", err, e)
			}
			t.Log(err)
		})
	}
}
