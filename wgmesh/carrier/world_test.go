package carrier

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/topology/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testSecret is not secret: it is of tests.
const testSecret = "wwg1-AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGhIjKlMnOpQ\n"

// shaker makes a member of the mesh "home" that carries everything.
func shaker(t testing.TB) *control.Handshaker {
	t.Helper()
	identity, err := control.GenerateIdentity()
	must(t, err)
	secrets, err := control.ParseSecrets([]byte(testSecret))
	must(t, err)
	notary, err := control.NewNotary(identity, "home", secrets)
	must(t, err)
	sealed, err := notary.Seal(&topology.Record{
		Key: identity.Public(), Version: topology.Version{Epoch: 1, Seq: 1}, Name: "alpha", Software: "test", Port: 6783, MTU: 1420,
	})
	must(t, err)
	h, err := control.NewHandshaker(control.Config{
		Mesh: "home", Identity: identity, Secrets: secrets,
		Hello:       func() control.LocalHello { return control.LocalHello{Port: 6783, Record: sealed} },
		AdmitStream: func(control.PeerHello) error { return nil },
	})
	must(t, err)
	return h
}

// streams returns both ends of a stream over TCP.
func streams(t testing.TB) (near, far *control.Stream) {
	t.Helper()
	l, err := shaker(t).Listen(context.Background(), "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	accepted, done := make(chan *control.Stream, 1), make(chan struct{})
	go func() {
		defer close(done)
		l.Serve(ctx, func(s *control.Session) { s.Close("") }, func(s *control.Stream) { accepted <- s })
	}()
	defer func() { cancel(); <-done }()
	near, err = shaker(t).DialCarrier(ctx, l.Addrs()[0].String(), [control.BindingSize]byte{1})
	must(t, err)
	far = <-accepted
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// start runs a carrier until the test ends and returns its socket's address and its end.
func start(t testing.TB, stream net.Conn, peer netip.AddrPort) (at netip.AddrPort, ended <-chan error) {
	t.Helper()
	socket := socketT(t)
	ctx, cancel := context.WithCancel(context.Background())
	result, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		result <- Run(ctx, stream, socket, peer)
	}()
	t.Cleanup(func() { cancel(); <-gone })
	return addressOf(socket), result
}

func socketT(t testing.TB) *net.UDPConn {
	t.Helper()
	socket, err := Socket()
	must(t, err)
	t.Cleanup(func() { socket.Close() })
	must(t, socket.SetReadDeadline(time.Now().Add(30*time.Second)))
	return socket
}

func addressOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
