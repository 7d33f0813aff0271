package lab

import (
	"net/netip"
	"testing"
	"time"
)

func TestSetAddr(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct{ was, is, server string }{
		{"10.1.0.2/24", "10.1.0.77/24", "10.2.0.2"}, {"fd01::2/64", "fd01::77/64", "fd02::2"},
	} {
		if err := s.host.SetAddr(netip.MustParsePrefix(c.was), netip.MustParsePrefix(c.is)); err != nil {
			t.Fatal(err)
		}
		reaches(t, s.host.Host, c.server) // by the default route, which stayed
		reaches(t, s.server.Host, netip.MustParsePrefix(c.is).Addr().String())
		if r := ping(t, s.server.Host, netip.MustParsePrefix(c.was).Addr().String(), 2); r.Lost() != 2 {
			t.Errorf("%s is still there: %s", c.was, r)
		}
	}
	if err := s.host.SetAddr(netip.MustParsePrefix("10.1.0.2/24"), netip.MustParsePrefix("10.1.0.3/24")); err == nil {
		t.Error("an address is replaced that is not there")
	}
}

// A phone goes from one home, where it has a cable with a delay, to another, and its socket with it.
func TestMoveBetweenHomes(t *testing.T) {
	i := newInternet(t)
	from, to := i.home(PortRestricted), i.home(Symmetric)
	phone, err := from.Host("phone", OverWire(WireSpec{Delay: time.Millisecond}))
	if err != nil {
		t.Fatal(err)
	}
	stays := i.host(from, "stays")
	e := openEar(t, phone, 6000)
	if at := i.seen(e, 0, 0); at.Addr() != from.Public() {
		t.Errorf("at home it is seen at %s", at)
	}
	reaches(t, stays.Host, "192.168.1.2")
	if _, err := from.Switch.Drop(Filter{From: phone}); err != nil {
		t.Fatal(err)
	}
	if err := to.Take(phone); err != nil {
		t.Fatal(err)
	}
	if at := i.seen(e, 0, 0); at.Addr() != to.Public() {
		t.Errorf("moved, it is seen at %s", at)
	}
	if r := ping(t, stays.Host, "192.168.1.2", 2); r.Lost() != 2 {
		t.Errorf("moved, it is still reached at home: %s", r)
	}
	// Out of all homes.
	if err := phone.Move(i.public, prefixes("203.0.113.50/24"), netip.MustParseAddr("203.0.113.1")); err != nil {
		t.Fatal(err)
	}
	if at := i.seen(e, 1, 1); at != netip.MustParseAddrPort("203.0.113.50:6000") {
		t.Errorf("in the open it is seen at %s", at)
	}
}

// One direction is lost, the other is not: by a filter of the switch, and by the wire.
func TestOneWayLoss(t *testing.T) {
	_, s, a, b := pair(t, OverWire(WireSpec{}))
	here, there := openEar(t, a, 7000), openEar(t, b, 7000)
	hears := func(from, to *Ear, at string) bool {
		if err := from.Send(netip.AddrPortFrom(netip.MustParseAddr(at), 7000), []byte("x")); err != nil {
			t.Fatal(err)
		}
		_, err := to.Hear(within(t, 200*time.Millisecond), []byte("x"))
		return err == nil
	}
	if !hears(here, there, "10.0.0.2") || !hears(there, here, "10.0.0.1") {
		t.Fatal("loss without a cause")
	}
	undo, err := s.Drop(Filter{From: a, To: b})
	if err != nil {
		t.Fatal(err)
	}
	if hears(here, there, "10.0.0.2") || !hears(there, here, "10.0.0.1") {
		t.Error("filter: not this direction alone is lost")
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	if err := a.Wire.Set(In, WireSpec{Loss: 1}); err != nil {
		t.Fatal(err)
	}
	if !hears(here, there, "10.0.0.2") || hears(there, here, "10.0.0.1") {
		t.Error("wire: not this direction alone is lost")
	}
}
