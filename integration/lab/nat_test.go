package lab

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// internet is a public network with a reflector at 203.0.113.1 and .2; homes are at .11 and after.
type internet struct {
	t      *testing.T
	lab    *Lab
	public *Switch
	server *Link
	*Reflector
	homes int
}

func newInternet(t *testing.T) *internet {
	t.Helper()
	i := &internet{t: t, lab: newLab(t)}
	var err error
	if i.public, err = i.lab.Switch("public"); err != nil {
		t.Fatal(err)
	}
	h, err := i.lab.Host("server")
	if err != nil {
		t.Fatal(err)
	}
	if i.server, err = i.lab.Link(h, i.public, prefixes("203.0.113.1/24", "203.0.113.2/24")); err != nil {
		t.Fatal(err)
	}
	addrs := [2]netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("203.0.113.2")}
	if i.Reflector, err = OpenReflector(t.Context(), h, addrs, [2]uint16{3478, 3479}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

func (i *internet) home(kind NATKind, opts ...HomeOption) *Home {
	i.t.Helper()
	i.homes++
	outside := netip.MustParsePrefix(fmt.Sprintf("203.0.113.%d/24", 10+i.homes))
	h, err := i.lab.Home(fmt.Sprintf("home%d", i.homes), i.public, outside, netip.MustParsePrefix("192.168.1.1/24"), kind, opts...)
	if err != nil {
		i.t.Fatal(err)
	}
	return h
}

func (i *internet) host(h *Home, name string) *Link {
	i.t.Helper()
	k, err := h.Host(name)
	if err != nil {
		i.t.Fatal(err)
	}
	return k
}

// openEar listens on a UDP port of a link's host until the test ends.
func openEar(t *testing.T, at *Link, port uint16) *Ear {
	t.Helper()
	e, err := OpenEar(t.Context(), at.Host, at.Interface, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// seen is where a socket of the reflector sees the ear.
func (i *internet) seen(e *Ear, address, port int) netip.AddrPort {
	i.t.Helper()
	at, err := i.Ask(within(i.t, 5*time.Second), e, address, port)
	if err != nil {
		i.t.Fatal(err)
	}
	return at
}

// hears says whether what one ear sends to an address reaches another.
func (i *internet) hears(from, to *Ear, at netip.AddrPort) bool {
	i.t.Helper()
	if err := from.Send(at, []byte("hello")); err != nil {
		i.t.Fatal(err)
	}
	_, err := to.Hear(within(i.t, 200*time.Millisecond), []byte("hello"))
	return err == nil
}

// Every kind is what it says, for each of two inside hosts with the same source ports.
func TestNATKinds(t *testing.T) {
	i := newInternet(t)
	for _, kind := range NATKinds() {
		h := i.home(kind)
		for _, name := range []string{"a", "b"} {
			got, err := i.Measure(within(t, 10*time.Second), i.host(h, name), 5000)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if got != kind.Behaviour() {
				t.Errorf("%s, host %s: %s", kind, name, got)
			}
		}
	}
}

// Connection tracking alone would give both hosts one public port where they talk to different destinations, and
// then another where they meet.
func TestSameSourcePortBehindOneBox(t *testing.T) {
	i := newInternet(t)
	for _, kind := range NATKinds() {
		h := i.home(kind)
		a, b := openEar(t, i.host(h, "a"), 6000), openEar(t, i.host(h, "b"), 6000)
		a0, b1 := i.seen(a, 0, 0), i.seen(b, 1, 0)
		a1, b0 := i.seen(a, 1, 0), i.seen(b, 0, 0)
		if a0 == b0 || a1 == b1 {
			t.Errorf("%s: a is %s and %s, b %s and %s", kind, a0, a1, b0, b1)
		}
		if independent := kind != Symmetric; (a0 == a1) != independent || (b0 == b1) != independent {
			t.Errorf("%s: a is %s and %s, b %s and %s", kind, a0, a1, b0, b1)
		}
		for _, at := range []netip.AddrPort{a0, a1, b0, b1} {
			if at.Addr() != h.Public() {
				t.Errorf("%s: seen at %s, not at %s", kind, at, h.Public())
			}
		}
	}
}

func TestUnaskedDatagramsStayOut(t *testing.T) {
	i := newInternet(t)
	for _, kind := range NATKinds() {
		h := i.home(kind)
		inside := openEar(t, i.host(h, "a"), 6000)
		stranger, err := i.lab.Host("stranger")
		if err != nil {
			t.Fatal(err)
		}
		k, err := i.lab.Link(stranger, i.public, prefixes(fmt.Sprintf("203.0.113.%d/24", 100+i.homes)))
		if err != nil {
			t.Fatal(err)
		}
		outside := openEar(t, k, 6000)
		if err := stranger.AddRoute(netip.MustParsePrefix("192.168.1.0/24"), h.Public()); err != nil {
			t.Fatal(err)
		}
		if i.hears(outside, inside, netip.MustParseAddrPort("192.168.1.2:6000")) {
			t.Errorf("%s: its private address is reached", kind)
		}
		mapped := i.seen(inside, 0, 0)
		if got, want := i.hears(outside, inside, mapped), kind == FullCone; got != want {
			t.Errorf("%s: a stranger is heard: %t", kind, got)
		}
		if err := inside.Send(netip.AddrPortFrom(k.Addrs[0].Addr(), 7), []byte("x")); err != nil {
			t.Fatal(err)
		}
		if got, want := i.hears(outside, inside, mapped), kind <= AddressRestricted; got != want {
			t.Errorf("%s: another port of who was sent to is heard: %t", kind, got)
		}
		if err := inside.Send(netip.AddrPortFrom(k.Addrs[0].Addr(), 6000), []byte("x")); err != nil {
			t.Fatal(err)
		}
		if got, want := i.hears(outside, inside, mapped), kind <= PortRestricted; got != want {
			t.Errorf("%s: who was sent to is heard: %t", kind, got)
		}
	}
}

// What came unasked before leaves no trace: both sides of a hole punch keep their mappings.
func TestHolePunch(t *testing.T) {
	i := newInternet(t)
	for _, kinds := range [][2]NATKind{
		{PortRestricted, PortRestricted}, {AddressRestricted, PortRestricted}, {FullCone, Symmetric}, {PortRestricted, Symmetric},
	} {
		a, b := openEar(t, i.host(i.home(kinds[0]), "a"), 6000), openEar(t, i.host(i.home(kinds[1]), "b"), 6000)
		atA, atB := i.seen(a, 0, 0), i.seen(b, 0, 0)
		early := i.hears(a, b, atB)
		through := i.hears(b, a, atA)
		if early {
			t.Errorf("%v: the first datagram came in", kinds)
		}
		if want := kinds != [2]NATKind{PortRestricted, Symmetric}; through != want {
			t.Errorf("%v: punched through: %t", kinds, through)
		}
		if again := i.seen(a, 1, 1); again != atA {
			t.Errorf("%v: %s became %s", kinds, atA, again)
		}
	}
}

func TestHairpin(t *testing.T) {
	i := newInternet(t)
	for _, kind := range []NATKind{FullCone, AddressRestricted, PortRestricted} {
		for _, on := range []bool{false, true} {
			var opts []HomeOption
			if on {
				opts = append(opts, Hairpin())
			}
			h := i.home(kind, opts...)
			a, b := openEar(t, i.host(h, "a"), 6000), openEar(t, i.host(h, "b"), 6000)
			atA, atB := i.seen(a, 0, 0), i.seen(b, 0, 0)
			if got, want := i.hears(a, b, atB), on && kind == FullCone; got != want {
				t.Errorf("%s, hairpin %t: the first datagram is heard: %t", kind, on, got)
			}
			if got := i.hears(b, a, atA); got != on {
				t.Errorf("%s, hairpin %t: the second datagram is heard: %t", kind, on, got)
			}
			if err := a.Send(atB, []byte("whose")); err != nil {
				t.Fatal(err)
			}
			from, err := b.Hear(within(t, 200*time.Millisecond), []byte("whose"))
			if on && from != atA {
				t.Errorf("%s: the hairpin comes from %s instead of %s: %v", kind, from, atA, err)
			}
		}
	}
	p := prefixes("203.0.113.99/24", "10.0.0.1/24")
	if _, err := i.lab.Home("x", i.public, p[0], p[1], Symmetric, Hairpin()); err == nil {
		t.Error("a symmetric box takes hairpins")
	}
}

func TestRebind(t *testing.T) {
	i := newInternet(t)
	for _, kind := range NATKinds() {
		h := i.home(kind)
		a := openEar(t, i.host(h, "a"), 6000)
		server := openEar(t, i.server, 7000)
		to := netip.MustParseAddrPort("203.0.113.1:7000")
		before := i.seen(a, 0, 0)
		if err := a.Send(to, []byte("x")); err != nil {
			t.Fatal(err)
		}
		mapped, err := server.Hear(within(t, 5*time.Second), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if !i.hears(server, a, mapped) {
			t.Errorf("%s: the answer is lost", kind)
		}
		if err := h.Rebind(); err != nil {
			t.Fatal(err)
		}
		if i.hears(server, a, mapped) {
			t.Errorf("%s: the old mapping is open", kind)
		}
		if after := i.seen(a, 0, 0); after == before {
			t.Errorf("%s: still %s", kind, after)
		}
	}
}

func TestUDPTimeout(t *testing.T) {
	i := newInternet(t)
	for _, kind := range NATKinds() {
		h := i.home(kind, UDPTimeout(time.Second))
		a := openEar(t, i.host(h, "a"), 6000)
		before, began := i.seen(a, 0, 0), time.Now()
		waitFor(t, "silence to end the mapping", func() bool { return tracked(t, h) == 0 })
		if took := time.Since(began); took < 500*time.Millisecond {
			t.Errorf("%s: forgotten after %s", kind, took)
		}
		if after := i.seen(a, 0, 0); after == before {
			t.Errorf("%s: still %s", kind, after)
		}
	}
	p := prefixes("203.0.113.99/24", "10.0.0.1/24")
	if _, err := i.lab.Home("x", i.public, p[0], p[1], FullCone, UDPTimeout(time.Millisecond)); err == nil {
		t.Error("a box takes a timeout of a millisecond")
	}
}

// tracked counts what the box remembers: its own books, and connections.
func tracked(t *testing.T, h *Home) int {
	t.Helper()
	n := 0
	err := h.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		for _, name := range h.rules.books() {
			elements, err := c.GetSetElements(natBook(name))
			if err != nil {
				return err
			}
			n += len(elements)
		}
		flows, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		n += len(flows)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestDoubleNAT(t *testing.T) {
	i := newInternet(t)
	for _, kinds := range [][2]NATKind{
		{FullCone, FullCone}, {FullCone, PortRestricted}, {Symmetric, FullCone}, {PortRestricted, Symmetric},
	} {
		outer := i.home(kinds[0])
		inner, err := outer.Home("inner", netip.MustParsePrefix("10.9.0.1/24"), kinds[1])
		if err != nil {
			t.Fatal(err)
		}
		got, err := i.Measure(within(t, 10*time.Second), i.host(inner, "a"), 5000)
		if err != nil {
			t.Fatal(err)
		}
		// The harder box decides.
		if want := max(kinds[0], kinds[1]).Behaviour(); got != want {
			t.Errorf("%v: %s instead of %s", kinds, got, want)
		}
	}
}

func TestTCPGoesOutAndNotIn(t *testing.T) {
	i := newInternet(t)
	h := i.home(PortRestricted)
	a := i.host(h, "a")
	if r := ping(t, a.Host, "203.0.113.1", 5); r.Lost() != 0 {
		t.Error(r)
	}
	// TCP goes out.
	if got := transfer(t, a, i.server, 1<<20); got.Bytes != 1<<20 {
		t.Errorf("%d bytes came out", got.Bytes)
	}
	// And does not come in.
	sink, err := OpenSink(t.Context(), a.Host, netip.AddrPortFrom(a.Addrs[0].Addr(), 0))
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	for _, to := range []netip.Addr{h.Public(), a.Addrs[0].Addr()} {
		if err := i.server.Host.AddRoute(netip.MustParsePrefix("192.168.1.0/24"), h.Public()); err != nil {
			t.Fatal(err)
		}
		at := netip.AddrPortFrom(to, sink.Addr().Port())
		var timeout net.Error // it is neither let in nor refused
		_, err := Send(within(t, 300*time.Millisecond), i.server.Host, at, 1, nil)
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("TCP to %s: %v", at, err)
		}
	}
}

// A datagram that is larger than the MTU passes in both directions, in fragments.
func TestFragmentsPassNAT(t *testing.T) {
	i := newInternet(t)
	large := bytes.Repeat([]byte("large"), 600)
	for _, kind := range NATKinds() {
		inside, outside := openEar(t, i.host(i.home(kind), "a"), 6000), openEar(t, i.server, 7000+uint16(kind))
		if err := inside.Send(netip.AddrPortFrom(netip.MustParseAddr("203.0.113.1"), 7000+uint16(kind)), large); err != nil {
			t.Fatal(err)
		}
		from, err := outside.Hear(within(t, 2*time.Second), large)
		if err != nil {
			t.Fatalf("%s: outward: %v", kind, err)
		}
		if err := outside.Send(from, large); err != nil {
			t.Fatal(err)
		}
		if _, err := inside.Hear(within(t, 2*time.Second), large); err != nil {
			t.Errorf("%s: inward: %v", kind, err)
		}
	}
}

func TestRenumber(t *testing.T) {
	i := newInternet(t)
	h := i.home(AddressRestricted, Gateway(netip.MustParseAddr("203.0.113.1")))
	a := openEar(t, i.host(h, "a"), 6000)
	before := i.seen(a, 0, 0)
	if err := h.Renumber(netip.MustParsePrefix("203.0.113.200/24")); err != nil {
		t.Fatal(err)
	}
	after := i.seen(a, 0, 0)
	if after.Addr() != h.Public() || after.Addr() == before.Addr() {
		t.Errorf("%s became %s", before, after)
	}
}
