package lab

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestARP(t *testing.T) {
	_, _, a, b := pair(t)
	mac, err := ARP(within(t, 5*time.Second), a.Host, "eth0", netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"))
	if err != nil || !bytes.Equal(mac, b.MAC) {
		t.Errorf("got %s, %v; want %s", mac, err, b.MAC)
	}
	mac, err = ARP(within(t, 300*time.Millisecond), a.Host, "eth0", netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.9"))
	if err == nil {
		t.Errorf("%s answers for nobody", mac)
	}
}

func TestBroadcastAndMulticastAreHeard(t *testing.T) {
	_, _, a, b := pair(t)
	for _, c := range []struct{ to, group string }{
		{"10.0.0.255", ""}, {"255.255.255.255", ""}, {"239.1.2.3", "239.1.2.3"}, {"ff15::77", "ff15::77"},
	} {
		var groups []netip.Addr
		if c.group != "" {
			groups = append(groups, netip.MustParseAddr(c.group))
		}
		ear, err := OpenEar(t.Context(), b.Host, "eth0", 7777, groups...)
		if err != nil {
			t.Fatal(err)
		}
		to := netip.AddrPortFrom(netip.MustParseAddr(c.to), 7777)
		if err := Shout(t.Context(), a.Host, "eth0", to, []byte("hello "+c.to)); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		from, err := ear.Hear(within(t, 2*time.Second), []byte("hello "+c.to))
		if err != nil {
			t.Errorf("%s: not heard: %v", to, err)
		}
		t.Logf("%s heard from %s", to, from)
		if err := ear.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestFramesArriveAsTheyWere(t *testing.T) {
	_, _, a, b := pair(t)
	spec := FrameSpec{From: a.MAC, To: b.MAC, Seed: 3, Count: 5000, MTU: 1500, PerSecond: 20000}
	r := frames(t, a, b, spec)
	if !r.Perfect() || r.Received != 5000 {
		t.Error(r)
	}
}

// The receiver notices what it is there to notice.
func TestFramesLostDuplicatedAndChangedAreCounted(t *testing.T) {
	_, s, a, b := pair(t, OverWire(WireSpec{Duplicate: 0.1}))
	if _, err := s.Drop(Filter{From: a, To: b, Loss: 0.1}); err != nil {
		t.Fatal(err)
	}
	spec := FrameSpec{From: a.MAC, To: b.MAC, Seed: 3, Count: 1000, MTU: 1500, PerSecond: 5000}
	r := frames(t, a, b, spec)
	if r.Lost() == 0 || r.Duplicates == 0 || r.Changed != 0 {
		t.Error(r)
	}
	good := spec.Frame(17)
	var c frameCheck
	c.take(spec, good)
	bad := spec.Frame(18)
	bad[len(bad)-1] ^= 1
	c.take(spec, bad)
	cut := spec.Frame(19)
	c.take(spec, cut[:len(cut)-1])
	if c.report.Received != 1 || c.report.Changed != 2 {
		t.Errorf("of one good frame and two bad ones: %+v", c.report)
	}
}

func frames(t *testing.T, a, b *Link, spec FrameSpec) FrameReport {
	t.Helper()
	rx, err := OpenTap(b.Host, b.Interface)
	if err != nil {
		t.Fatal(err)
	}
	defer rx.Close()
	tx, err := OpenTap(a.Host, a.Interface)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Close()
	sent := make(chan error, 1)
	go func() { sent <- SendFrames(t.Context(), tx, spec) }()
	r, err := ReceiveFrames(within(t, 20*time.Second), rx, spec, 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	return r
}

// A capture of the underlay sees through segmentation offload what is on the wire.
func TestCaptureSplitsSegments(t *testing.T) {
	l, _, a, b := pair(t)
	tap, err := OpenTap(l.Underlay(), "", WithSegments())
	if err != nil {
		t.Fatal(err)
	}
	defer tap.Close()
	transfer(t, a, b, 1<<20)
	segments, largest := 0, 0
	for segments*1448 < 1<<20 {
		f, err := tap.Receive(time.Now().Add(time.Second))
		if err != nil {
			t.Fatalf("after %d segments: %v", segments, err)
		}
		for p := range f.Packets() {
			if p.Protocol == unix.IPPROTO_TCP && len(p.Payload) > 0 {
				segments++
				largest = max(largest, len(p.Payload))
			}
		}
	}
	if largest > 1460 {
		t.Errorf("a segment of %d bytes", largest)
	}
}
