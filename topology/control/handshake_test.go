package control

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weavewg/weavewg/topology"
)

func TestOnlyPostQuantumKeyExchange(t *testing.T) {
	sa, sb := pair(t, newNode(t, nil), newNode(t, nil))
	for _, s := range []*Session{sa, sb} {
		state := s.conn.conn.ConnectionState()
		if state.CurveID != tls.X25519MLKEM768 || state.Version != tls.VersionTLS13 || state.DidResume || state.NegotiatedProtocol != alpn {
			t.Fatalf("%v %x %v %q", state.CurveID, state.Version, state.DidResume, state.NegotiatedProtocol)
		}
	}
	// A member that offers only the classical exchange gets none.
	node := newNode(t, nil)
	own, _ := newIdentityT(t).certificate()
	config := tlsConfig(own)
	config.CurvePreferences = []tls.CurveID{tls.X25519}
	config.ServerName = newKnock(node.keys[0])
	if err := clientError(t, node, config, nil); err == nil || !strings.Contains(err.Error(), "TLS: ") {
		t.Fatalf("got %v", err)
	}
}

func TestEveryCombinationOfSecrets(t *testing.T) {
	third := strings.ReplaceAll(secretA, "A", "C")
	lists := [][]string{
		{secretA}, {secretB}, {secretA, secretB}, {secretB, secretA}, {third, secretA, secretB}, {secretB, third, secretA},
	}
	for _, dial := range lists {
		for _, accept := range lists {
			fits := slices.Contains(accept, dial[0])
			name := fmt.Sprintf("%c dials %c", letters(dial), letters(accept))
			t.Run(name, func(t *testing.T) {
				a := newNode(t, nil, dial...)
				b := newNode(t, nil, accept...)
				ca, cb := net.Pipe()
				ra, rb := meetOver(t, a, b, ca, cb)
				defer closeBoth(ra, rb)
				switch {
				case fits:
					if ra.err != nil || rb.err != nil {
						t.Fatalf("%v, %v", ra.err, rb.err)
					}
				default:
					if kindOf(ra.err) != Silent || !errors.Is(rb.err, ErrNoKnock) {
						t.Fatalf("%v, %v", ra.err, rb.err)
					}
				}
			})
		}
	}
}

func letters(secrets []string) (all []byte) {
	for _, s := range secrets {
		all = append(all, s[len(s)-1])
	}
	return all
}

func kindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return 0
}

func closeBoth(all ...result) {
	for _, r := range all {
		if r.session != nil {
			r.session.Close("test over")
		}
	}
}

func TestRefusals(t *testing.T) {
	full := errors.New("I have 16 neighbours\nand no room")
	other := newIdentityT(t)
	for _, c := range []struct {
		name         string
		change       func(a, b *testNode)
		kind         Kind
		wantA, wantB string // in the error of the dialler, of the acceptor
	}{
		{"the acceptor does not admit", func(_, b *testNode) {
			b.config.Admit = func(PeerHello) error { return full }
		}, Refused, "no room", "I have 16"},
		{"the dialler does not admit", func(a, _ *testNode) {
			a.config.Admit = func(PeerHello) error { return full }
		}, Refused, "I have 16", "no room"},
		{"the acceptor knows a duplicate", func(_, b *testNode) {
			b.config.Admit = func(PeerHello) error { return &Error{Kind: Duplicate, Reason: "duplicate identity"} }
		}, Duplicate, "duplicate identity", "duplicate identity"},
		{"an admission of no kind", func(_, b *testNode) {
			b.config.Admit = func(PeerHello) error { return &Error{Reason: "odd"} }
		}, Refused, "odd", "odd"},
		{"self", func(a, b *testNode) {
			b.config.Identity, b.tls, b.hello = a.config.Identity, a.tls, a.hello
		}, Self, "connected to self", "connected to self"},
		{"a clone of our state", func(a, b *testNode) {
			b.config.Identity, b.tls = a.config.Identity, a.tls
			b.hello.Run = [8]byte{9, 9}
		}, Duplicate, "duplicate identity", "duplicate identity"},
		{"the record of another", func(a, _ *testNode) {
			sealed, err := notaryOf(t, other, "home", secretA).Seal(testRecord(other, a.hello.Run))
			if err != nil {
				t.Fatal(err)
			}
			a.hello.Record = sealed
		}, Refused, "carries the record of", "carries the record of"},
		{"the record of another run", func(_, b *testNode) { b.hello.Run[0]++ }, Refused, "of another run", "of another run"},
		{"a record that nobody signed", func(a, _ *testNode) {
			a.hello.Record.Sig = make([]byte, 64)
		}, Refused, "bad signature", "bad signature"},
		{"no record", func(a, _ *testNode) { a.hello.Record = topology.Sealed{} }, Refused, "record of 0 bytes", "record of 0 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := newNode(t, nil), newNode(t, nil)
			c.change(a, b)
			ca, cb := net.Pipe()
			ra, rb := meetOver(t, a, b, ca, cb)
			defer closeBoth(ra, rb)
			if kindOf(ra.err) != c.kind || kindOf(rb.err) != c.kind {
				t.Fatalf("kinds %v, %v: %v, %v", kindOf(ra.err), kindOf(rb.err), ra.err, rb.err)
			}
			if !strings.Contains(ra.err.Error(), c.wantA) || !strings.Contains(rb.err.Error(), c.wantB) {
				t.Fatalf("%v, %v", ra.err, rb.err)
			}
			for _, err := range []error{ra.err, rb.err} {
				if e, _ := errors.AsType[*Error](err); e.Peer.IsZero() {
					t.Fatalf("who it was is lost: %v", err)
				}
			}
			heard := ra.err.Error()
			if strings.HasPrefix(rb.err.Error(), "refused by") {
				heard = rb.err.Error()
			}
			if strings.Contains(heard, "\n") {
				t.Fatalf("a peer can write lines into our log: %q", heard)
			}
		})
	}
}

func TestProtocolVersions(t *testing.T) {
	a, b := newIdentityT(t), newIdentityT(t)
	n := notaryOf(t, b, "home", secretA)
	sealed, err := n.Seal(testRecord(b, [8]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		min, max uint16
		want     uint16
	}{{1, 1, 1}, {0, 1, 1}, {1, 9, 1}, {2, 9, 0}, {0, 0, 0}, {1, 0, 0}, {9, 1, 0}} {
		h := helloWire{Min: c.min, Max: c.max, Run: [8]byte{1}, Record: sealed}
		p, err := meet(LocalHello{}, a, b.Public(), h, n)
		if c.want == 0 {
			if kindOf(err) != Refused || !strings.Contains(err.Error(), "upgrade") {
				t.Errorf("%d to %d: %v", c.min, c.max, err)
			}
		} else if err != nil || p.Protocol != c.want {
			t.Errorf("%d to %d: %d, %v", c.min, c.max, p.Protocol, err)
		}
	}
}

// clientError lets a hand-made client speak to node and returns what node made of it. speak runs after TLS.
func clientError(t *testing.T, node *testNode, config *tls.Config, speak func(*tls.Conn)) error {
	t.Helper()
	ours, theirs := tcpPair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer ours.Close()
		conn := tls.Client(ours, config)
		if conn.Handshake() == nil && speak != nil {
			speak(conn)
		}
		_, _ = io.Copy(io.Discard, ours)
	}()
	s, err := node.Respond(within(t, 10*time.Second), theirs)
	if s != nil {
		s.Close("")
	}
	<-done
	return err
}

func tcpPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

// oddCertificates are certificates that no node has.
func oddCertificates(t testing.TB) map[string]tls.Certificate {
	t.Helper()
	own, err := newIdentityT(t).certificate()
	if err != nil {
		t.Fatal(err)
	}
	selfSigned := func(public, private any, padding int) tls.Certificate {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), OCSPServer: []string{strings.Repeat("x", padding)}}
		der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	two := own
	two.Certificate = [][]byte{own.Certificate[0], own.Certificate[0]}
	long := own
	for len(long.Certificate)*len(own.Certificate[0]) < 200<<10 {
		long.Certificate = append(long.Certificate, own.Certificate[0])
	}
	broken := own
	broken.Certificate = [][]byte{append([]byte{1}, own.Certificate[0][1:]...)}
	borrowed := own
	borrowed.PrivateKey = private
	return map[string]tls.Certificate{
		"two certificates": two, "RSA": selfSigned(&rsaKey.PublicKey, rsaKey, 1), "ECDSA": selfSigned(&ecKey.PublicKey, ecKey, 1),
		"17 kB": selfSigned(public, private, 17<<10), "chain of 200 kB": long, "1 MB": selfSigned(public, private, 1<<20),
		"no certificate": {}, "damaged": broken, "somebody else's": borrowed,
	}
}

func TestOddCertificatesAreRefused(t *testing.T) {
	for name, odd := range oddCertificates(t) {
		t.Run("dialler/"+name, func(t *testing.T) {
			node := newNode(t, nil)
			config := tlsConfig(odd)
			config.ServerName = newKnock(node.keys[0])
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &odd, nil }
			read := new(meter)
			err := clientErrorThrough(t, node, config, read)
			if err == nil || errors.Is(err, ErrNoKnock) || isTimeout(err) {
				t.Fatalf("got %v", err)
			}
			if in := read.in.Load(); in > maxUnproven {
				t.Fatalf("read %d bytes of a stranger", in)
			}
			t.Log(err)
		})
		t.Run("acceptor/"+name, func(t *testing.T) {
			node := newNode(t, nil)
			ours, theirs := tcpPair(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				conn := tls.Server(ours, tlsConfig(odd))
				if conn.Handshake() == nil {
					_, _ = io.Copy(io.Discard, conn)
				}
				ours.Close()
			}()
			_, err := node.Initiate(within(t, 10*time.Second), theirs)
			if kindOf(err) != Silent || isTimeout(err) {
				t.Fatalf("got %v", err)
			}
			t.Log(err)
			<-done
		})
	}
}

// clientErrorThrough is clientError that counts in m what node read.
func clientErrorThrough(t *testing.T, node *testNode, config *tls.Config, m *meter) error {
	t.Helper()
	ours, theirs := tcpPair(t)
	m.Conn = theirs
	m.open.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn := tls.Client(ours, config)
		if conn.Handshake() == nil {
			_, _ = io.Copy(io.Discard, conn)
		}
		ours.Close()
	}()
	_, err := node.Respond(within(t, 10*time.Second), m)
	<-done
	return err
}

func TestCancelledHandshake(t *testing.T) {
	a := newNode(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	ours, theirs := tcpPair(t)
	go func() {
		_, _ = io.ReadFull(ours, make([]byte, 100)) // the handshake is on its way
		cancel()
	}()
	begin := time.Now()
	if _, err := a.Initiate(ctx, theirs); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if time.Since(begin) > 2*time.Second {
		t.Fatal("cancelled too late")
	}
}
