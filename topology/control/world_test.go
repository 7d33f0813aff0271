package control

import (
	"context"
	"net"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weavewg/weavewg/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// secretA and secretB are not secret: they are of tests.
const (
	secretA = "wwg1-AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGhIjKlMnOpQ"
	secretB = "wwg1-BcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgHiJkLmNoPqR"
)

// testNode is a Handshaker with its parts in reach.
type testNode struct {
	*Handshaker
	identity *Identity
	hello    LocalHello
}

func parseSecrets(t testing.TB, lines ...string) *Secrets {
	t.Helper()
	text := ""
	for _, l := range lines {
		text += l + "\n"
	}
	s, err := ParseSecrets([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newIdentityT(t testing.TB) *Identity {
	t.Helper()
	i, err := GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func testRecord(i *Identity, run [8]byte) *topology.Record {
	return &topology.Record{
		Key: i.Public(), Version: topology.Version{Epoch: 1, Seq: 1}, Run: run,
		Name: "alpha", Software: "test", Port: 6783, MTU: 1420,
	}
}

// newNode makes a node of the mesh "home"; change may adjust its configuration.
func newNode(t testing.TB, change func(*Config), secrets ...string) *testNode {
	t.Helper()
	if len(secrets) == 0 {
		secrets = []string{secretA}
	}
	n := &testNode{identity: newIdentityT(t)}
	c := Config{Mesh: "home", Identity: n.identity, Secrets: parseSecrets(t, secrets...)}
	c.Hello = func() LocalHello { return n.hello }
	if change != nil {
		change(&c)
	}
	n.identity = c.Identity
	notary, err := NewNotary(c.Identity, c.Mesh, c.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	run := [8]byte{1, n.identity.public[0]}
	sealed, err := notary.Seal(testRecord(n.identity, run))
	if err != nil {
		t.Fatal(err)
	}
	n.hello = LocalHello{Run: run, Port: 6783, Record: sealed}
	if n.Handshaker, err = NewHandshaker(c); err != nil {
		t.Fatal(err)
	}
	return n
}

// result is what one end of a handshake came to.
type result struct {
	session *Session
	err     error
}

// meetOver lets a dial b over the two ends of a connection.
func meetOver(t testing.TB, a, b *testNode, ca, cb net.Conn) (result, result) {
	t.Helper()
	done := make(chan result, 1)
	go func() {
		s, err := b.Respond(context.Background(), cb)
		done <- result{s, err}
	}()
	s, err := a.Initiate(context.Background(), ca)
	return result{s, err}, <-done
}

// pair returns the two ends of a session, closed with the test.
func pair(t testing.TB, a, b *testNode) (*Session, *Session) {
	t.Helper()
	ca, cb := net.Pipe()
	ra, rb := meetOver(t, a, b, ca, cb)
	if ra.err != nil || rb.err != nil {
		t.Fatalf("handshake: dialler %v, acceptor %v", ra.err, rb.err)
	}
	t.Cleanup(func() {
		ra.session.Close("test over")
		rb.session.Close("test over")
	})
	return ra.session, rb.session
}

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// serve runs a listener on loopback until the test ends and sends its sessions to the channel.
func serve(t testing.TB, n *testNode) (*Listener, string, <-chan *Session) {
	t.Helper()
	l, err := n.Listen(context.Background(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	sessions := make(chan *Session, 16)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Serve(ctx, func(s *Session) { sessions <- s }, nil)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		close(sessions)
		for s := range sessions {
			s.Close("test over")
		}
	})
	return l, l.Addrs()[0].String(), sessions
}

// eventually waits up to five seconds until check finds nothing wrong.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(5 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatal(err)
		}
	}
}
