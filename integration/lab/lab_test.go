package lab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestPingBothFamilies(t *testing.T) {
	_, _, a, _ := pair(t)
	for _, to := range []string{"10.0.0.2", "fd00::2"} {
		if r := ping(t, a.Host, to, 20); r.Lost() != 0 {
			t.Errorf("%s: %s", to, r)
		}
	}
}

func TestNobodyAnswersForTheAbsent(t *testing.T) {
	_, _, a, _ := pair(t)
	if r := ping(t, a.Host, "10.0.0.3", 5); r.Lost() != 5 {
		t.Errorf("somebody answered: %s", r)
	}
}

func TestBlockAndUnblock(t *testing.T) {
	_, s, a, b := pair(t)
	undo, err := s.Block(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if r := ping(t, a.Host, "10.0.0.2", 10); r.Lost() != 10 {
		t.Errorf("blocked, yet %s", r)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	reaches(t, a.Host, "10.0.0.2")
}

func TestDropByProtocolAndPort(t *testing.T) {
	_, s, a, b := pair(t)
	ear := func(port uint16) *Ear {
		e, err := OpenEar(t.Context(), b.Host, "eth0", port)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	blocked, open := ear(7001), ear(7002)
	if _, err := s.Drop(Filter{From: a, To: b, Protocol: unix.IPPROTO_UDP, Port: 7001}); err != nil {
		t.Fatal(err)
	}
	for _, port := range []uint16{7001, 7002} {
		to := netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), port)
		if err := Shout(t.Context(), a.Host, "eth0", to, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open.Hear(within(t, 5*time.Second), []byte("x")); err != nil {
		t.Errorf("the open port heard nothing: %v", err)
	}
	if from, err := blocked.Hear(within(t, 200*time.Millisecond), []byte("x")); err == nil {
		t.Errorf("the blocked port heard %s", from)
	}
}

func TestLossByFilter(t *testing.T) {
	_, s, a, b := pair(t)
	if _, err := s.Drop(Filter{From: a, To: b, Protocol: unix.IPPROTO_ICMP, Loss: 0.3}); err != nil {
		t.Fatal(err)
	}
	r, err := Ping(within(t, 20*time.Second), a.Host, PingSpec{
		To: netip.MustParseAddr("10.0.0.2"), Count: 1000, Every: time.Millisecond, Timeout: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	// 300 expected; six standard deviations are 87.
	if r.Lost() < 213 || r.Lost() > 387 {
		t.Errorf("lost %d of 1000 at 30 %%", r.Lost())
	}
}

func TestRouterForwards(t *testing.T) {
	l := newLab(t)
	router, err := l.Router("r")
	if err != nil {
		t.Fatal(err)
	}
	hosts := make([]*Host, 2)
	for i, net := range []string{"10.1.0.", "10.2.0."} {
		s, err := l.Switch(net)
		if err != nil {
			t.Fatal(err)
		}
		if hosts[i], err = l.Host("h" + net); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Link(hosts[i], s, prefixes(net+"2/24")); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Link(router, s, prefixes(net+"1/24")); err != nil {
			t.Fatal(err)
		}
		if err := hosts[i].AddRoute(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr(net+"1")); err != nil {
			t.Fatal(err)
		}
	}
	if r := ping(t, hosts[0], "10.2.0.2", 10); r.Lost() != 0 {
		t.Error(r)
	}
}

func TestRateLimits(t *testing.T) {
	_, _, a, b := pair(t, Rate(20_000_000))
	got := transfer(t, a, b, 5<<20)
	if got.Mbits() > 24 || got.Mbits() < 10 {
		t.Errorf("%.1f Mbit/s through 20", got.Mbits())
	}
}

func TestUnpluggedCable(t *testing.T) {
	_, _, a, _ := pair(t)
	if err := a.SetUp(false); err != nil {
		t.Fatal(err)
	}
	if r := ping(t, a.Host, "10.0.0.2", 5); r.Lost() != 5 {
		t.Errorf("unplugged, yet %s", r)
	}
	if err := a.SetUp(true); err != nil {
		t.Fatal(err)
	}
	reaches(t, a.Host, "10.0.0.2")
}

func TestHostRunsPrograms(t *testing.T) {
	_, _, a, _ := pair(t)
	r, err := a.Host.Run(within(t, 5*time.Second), "sh", "-c", "cat /proc/net/dev; echo oops >&2; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(r.Stdout, "eth0") || r.Stderr != "oops\n" || r.Exit != 3 {
		t.Errorf("got %+v", r)
	}
	if _, err := a.Host.Run(within(t, 100*time.Millisecond), "sleep", "60"); err == nil {
		t.Error("a program outlived its context")
	}
	if _, err := a.Host.Run(t.Context(), "/no/such/program"); err == nil {
		t.Error("a program that does not exist ran")
	}
}

func TestSignalAndExit(t *testing.T) {
	_, _, a, _ := pair(t)
	p, err := a.Host.Start(t.Context(), "sleep", "60")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r, err := p.Wait(within(t, 5*time.Second))
	if err != nil || r.Exit != 128+15 {
		t.Errorf("exit %d, %v", r.Exit, err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("signal to what has ended: %v", err)
	}
}

// What a daemon leaves behind on purpose, in a session and namespace of its own, ends with the lab.
func TestCloseEndsWhatDaemonsLeave(t *testing.T) {
	l, _, a, _ := pair(t)
	out, err := Must(within(t, 5*time.Second), a.Host, "sh", "-c",
		"setsid unshare -n sleep 61 </dev/null >/dev/null 2>&1 & echo $!")
	if err != nil {
		t.Fatal(err)
	}
	mine := func(p process) bool {
		return p.lab() == l.name && strings.Contains(string(p.file("cmdline")), "61")
	}
	waitFor(t, "process "+out, func() bool { return count(t, mine) > 0 })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, mine); n != 0 {
		t.Errorf("%d processes are left", n)
	}
}

// A lab whose process was killed is removed by the next one.
func TestSweep(t *testing.T) {
	dead := os.TempDir() + "/" + dirPrefix + "1-99-abcdef" // process 1 did not start at tick 99
	alive := newLab(t)
	if err := os.Mkdir(dead, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dead) })
	h, err := alive.Host("h")
	if err != nil {
		t.Fatal(err)
	}
	p, err := h.Start(t.Context(), "env", markVar+"="+dirPrefix+"1-99-abcdef", "sleep", "62")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "env to become sleep", func() bool {
		return strings.Contains(string(process(p.PID()).file("cmdline")), "62") &&
			process(p.PID()).lab() == dirPrefix+"1-99-abcdef"
	})
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(within(t, 5*time.Second)); err != nil {
		t.Errorf("the process of the dead lab lives: %v", err)
	}
	if _, err := os.Stat(dead); !os.IsNotExist(err) {
		t.Errorf("the folder of the dead lab is there: %v", err)
	}
	if _, err := os.Stat(alive.Dir()); err != nil {
		t.Errorf("the folder of the living lab is gone: %v", err)
	}
}

func TestDescriptorsDoNotLeak(t *testing.T) {
	run := func() {
		l, err := New()
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		s, err := l.Switch("s")
		if err != nil {
			t.Fatal(err)
		}
		h, err := l.Host("h")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Link(h, s, prefixes("10.0.0.1/24"), OverWire(WireSpec{})); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Run(t.Context(), "true"); err != nil {
			t.Fatal(err)
		}
	}
	run() // opens what a process opens once
	before := descriptors(t)
	for range 5 {
		run()
	}
	waitFor(t, "descriptors to close", func() bool { return descriptors(t) <= before })
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func count(t *testing.T, mine func(process) bool) int {
	t.Helper()
	n := 0
	if err := eachProcess(func(p process) error {
		if mine(p) && !p.ended() {
			n++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return n
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	err := Until(within(t, 5*time.Second), func(context.Context) error {
		if !ok() {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil {
		t.Fatalf("waited for %s: %v", what, err)
	}
}

func transfer(t *testing.T, from, to *Link, size int64) Transfer {
	t.Helper()
	sink, err := OpenSink(t.Context(), to.Host, netip.AddrPortFrom(to.Addrs[0].Addr(), 0))
	if err != nil {
		t.Fatal(err)
	}
	defer sink.Close()
	got, err := Send(within(t, 30*time.Second), from.Host, sink.Addr(), size, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MB at %.1f Mbit/s", got.Bytes>>20, got.Mbits())
	return got
}
