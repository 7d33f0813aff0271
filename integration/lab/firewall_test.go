package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
)

// site is a host behind a router, and a server on the other side: 10.1.0.2 and 10.2.0.2, fd01::2 and fd02::2.
type site struct {
	t            *testing.T
	router       *Host
	link, uplink *Link // the router's
	host, server *Link
}

func newSite(t *testing.T) *site {
	t.Helper()
	l := newLab(t)
	router, err := l.Router("r")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, router: router}
	side := func(n int) (router, host *Link) {
		sw, err := l.Switch(fmt.Sprintf("sw%d", n))
		if err != nil {
			t.Fatal(err)
		}
		h, err := l.Host(fmt.Sprintf("h%d", n))
		if err != nil {
			t.Fatal(err)
		}
		four, six := fmt.Sprintf("10.%d.0.", n), fmt.Sprintf("fd0%d::", n)
		if router, err = l.Link(s.router, sw, prefixes(four+"1/24", six+"1/64")); err != nil {
			t.Fatal(err)
		}
		if host, err = l.Link(h, sw, prefixes(four+"2/24", six+"2/64")); err != nil {
			t.Fatal(err)
		}
		for _, via := range []string{four + "1", six + "1"} {
			if err := h.AddRoute(defaultRoute(netip.MustParseAddr(via)), netip.MustParseAddr(via)); err != nil {
				t.Fatal(err)
			}
		}
		return router, host
	}
	s.link, s.host = side(1)
	s.uplink, s.server = side(2)
	return s
}

// echo answers TCP on a port of a host with what it gets, on both IP versions.
func echo(t *testing.T, at Place, port uint16) {
	t.Helper()
	var l net.Listener
	err := at.Do(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { c.Close() })
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
}

func dial(t *testing.T, at Place, to string) net.Conn {
	t.Helper()
	var c net.Conn
	err := at.Do(func() (err error) {
		c, err = new(net.Dialer).DialContext(within(t, 5*time.Second), "tcp", to)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// echoes says whether anything comes back of what is written.
func echoes(t *testing.T, c net.Conn, b []byte) bool {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(make([]byte, len(b)))
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// clientHello is a real one: what crypto/tls says first.
func clientHello(t *testing.T) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	hello := make(chan []byte, 1)
	go func() {
		buf := make([]byte, 4096)
		n, _ := b.Read(buf)
		hello <- buf[:n]
		b.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := tls.Client(a, &tls.Config{ServerName: "example.org"}).HandshakeContext(ctx); err == nil {
		t.Fatal("nobody answered, and yet the handshake is done")
	}
	return <-hello
}

func TestOnlyTLS443(t *testing.T) {
	s := newSite(t)
	echo(t, s.server.Host, 443)
	echo(t, s.server.Host, 8443)
	echo(t, s.host.Host, 443)
	hello := clientHello(t)
	open := dial(t, s.host.Host, "10.2.0.2:443")
	if !echoes(t, open, []byte("x")) {
		t.Fatal("no echo without a firewall")
	}
	undo, err := s.link.OnlyTLS443()
	if err != nil {
		t.Fatal(err)
	}
	if echoes(t, open, []byte("x")) {
		t.Error("an open connection that is not TLS goes on")
	}
	for _, server := range []string{"10.2.0.2", "fd02::2"} {
		c := dial(t, s.host.Host, net.JoinHostPort(server, "443"))
		if !echoes(t, c, hello) || !echoes(t, c, []byte("what comes later")) {
			t.Errorf("%s: TLS does not pass", server)
		}
		for what, first := range map[string][]byte{
			"HTTP": []byte("GET / HTTP/1.1\r\n\r\n"), "one byte": {22}, "application data": {23, 3, 3, 0, 20, 1},
			"a ServerHello": {22, 3, 3, 0, 20, 2}, "SSL 2": {0x80, 46, 1, 3, 0, 0},
		} {
			c := dial(t, s.host.Host, net.JoinHostPort(server, "443"))
			if _, err := c.Write(first); err != nil {
				t.Fatal(err)
			}
			if echoes(t, c, hello) {
				t.Errorf("%s: %s, or a ClientHello after it, passes", server, what)
			}
		}
		ctx := within(t, 200*time.Millisecond)
		err := s.host.Host.Do(func() error {
			_, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(server, "8443"))
			return err
		})
		if err == nil {
			t.Errorf("%s: another port passes", server)
		}
		if r := ping(t, s.host.Host, server, 2); r.Lost() != 2 {
			t.Errorf("%s: ping passes", server)
		}
	}
	ear := openEar(t, s.server, 443)
	if err := openEar(t, s.host, 443).Send(netip.MustParseAddrPort("10.2.0.2:443"), hello); err != nil {
		t.Fatal(err)
	}
	if _, err := ear.Hear(within(t, 200*time.Millisecond), hello); err == nil {
		t.Error("UDP passes")
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	reaches(t, s.host.Host, "10.2.0.2")
	if c := dial(t, s.host.Host, "10.2.0.2:8443"); !echoes(t, c, []byte("x")) {
		t.Error("undone, and yet there is no echo")
	}
}

func TestBlockUDP(t *testing.T) {
	s := newSite(t)
	echo(t, s.server.Host, 443)
	in, out := openEar(t, s.host, 7000), openEar(t, s.server, 7000)
	pass := func() (outward, inward bool) {
		hear := func(from, to *Ear, at string) bool {
			if err := from.Send(netip.MustParseAddrPort(at), []byte("x")); err != nil {
				t.Fatal(err)
			}
			_, err := to.Hear(within(t, 200*time.Millisecond), []byte("x"))
			return err == nil
		}
		return hear(in, out, "10.2.0.2:7000"), hear(out, in, "10.1.0.2:7000")
	}
	if outward, inward := pass(); !outward || !inward {
		t.Fatalf("without a firewall UDP passes outward %t, inward %t", outward, inward)
	}
	undo, err := s.link.BlockUDP()
	if err != nil {
		t.Fatal(err)
	}
	if outward, inward := pass(); outward || inward {
		t.Errorf("blocked UDP passes outward %t, inward %t", outward, inward)
	}
	if r := ping(t, s.host.Host, "10.2.0.2", 2); r.Lost() != 0 {
		t.Errorf("ping is blocked: %s", r)
	}
	if c := dial(t, s.host.Host, "10.2.0.2:443"); !echoes(t, c, []byte("x")) {
		t.Error("TCP is blocked")
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if outward, inward := pass(); !outward || !inward {
		t.Errorf("undone, UDP passes outward %t, inward %t", outward, inward)
	}
}

func TestFirewallOfAHome(t *testing.T) {
	i := newInternet(t)
	h := i.home(PortRestricted)
	a := i.host(h, "a")
	e := openEar(t, a, 6000)
	i.seen(e, 0, 0)
	undo, err := h.Inside.BlockUDP()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := i.Ask(within(t, 300*time.Millisecond), e, 0, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("UDP passes: %v", err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	i.seen(e, 0, 0)
	if _, err := h.Inside.OnlyTLS443(); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Ask(within(t, 300*time.Millisecond), e, 0, 0); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("UDP passes: %v", err)
	}
	echo(t, i.server.Host, 443)
	if c := dial(t, a.Host, "203.0.113.1:443"); !echoes(t, c, clientHello(t)) {
		t.Error("TLS does not pass")
	}
}
