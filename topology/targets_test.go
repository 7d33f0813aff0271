package topology

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseTarget(t *testing.T) {
	for _, c := range []struct{ in, want, err string }{
		{"alpha", "alpha:6783", ""},
		{"Alpha.Example.", "alpha.example:6783", ""},
		{"web_1", "web_1:6783", ""},
		{"alpha:7000", "alpha:7000", ""},
		{"192.0.2.1", "192.0.2.1:6783", ""},
		{"192.0.2.1:1", "192.0.2.1:1", ""},
		{"2001:DB8::1", "[2001:db8::1]:6783", ""},
		{"[2001:db8:0:0::1]", "[2001:db8::1]:6783", ""},
		{"[2001:db8::1]:65535", "[2001:db8::1]:65535", ""},
		{"[fe80::1%eth0]:7000", "[fe80::1%eth0]:7000", ""},
		{"::ffff:192.0.2.1", "192.0.2.1:6783", ""},
		{"", "", "is empty"},
		{"alpha:", "", `port "" is not in 1..65535`},
		{"alpha:0", "", "1..65535"},
		{"alpha:70000", "", "1..65535"},
		{"alpha:+1", "", "1..65535"},
		{"alpha:http", "", "1..65535"},
		{":6783", "", "1 to 253"},
		{"http://alpha", "", "is a URL"},
		{"alpha:1:2", "", "too many colons: write an IPv6 address as [address]:port"},
		{"2001:db8::1:6783", "", "write [2001:db8::1]:6783"},
		{"[2001:db8::1:6783", "", "brackets"},
		{"[192.0.2.1]:1", "", "brackets are for IPv6"},
		{"[2001:db8::1]6783", "", "after the bracket"},
		{"0.0.0.0", "", "nobody can be reached"},
		{"[::]:6783", "", "nobody can be reached"},
		{"224.0.0.1", "", "nobody can be reached"},
		{"300.1.1.1", "", "neither a host name nor an IPv4 address"},
		{"10.1", "", "neither a host name nor an IPv4 address"},
		{"al pha", "", `holds ' '`},
		{"al\npha", "", `holds '\n'`},
		{"-a", "", "is no host name"},
		{"a..b", "", "is no host name"},
		{strings.Repeat("a", 64), "", "is no host name"},
		{strings.Repeat("a.", 127), "a" + strings.Repeat(".a", 126) + ":6783", ""},
		{strings.Repeat("a.", 128), "", "1 to 253"},
	} {
		got, err := ParseTarget(c.in, 6783)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%q: %q, %v; want %q, %q", c.in, got, err, c.want, c.err)
		}
	}
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"alpha", "[::1]:1", "2001:db8::1", "a:1:2", "[fe80::1%eth0]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once, err := ParseTarget(s, 6783)
		if err != nil {
			return
		}
		if twice, err := ParseTarget(once, 1); err != nil || twice != once {
			t.Fatalf("%q became %q, and that %q (%v)", s, once, twice, err)
		}
	})
}

func TestTargetsBackOff(t *testing.T) {
	now := time.Unix(100, 0)
	ts := NewTargets(rand.New(rand.NewPCG(1, 1)))
	if !ts.Next().IsZero() || ts.Due(now) != nil {
		t.Fatal("an empty set has something to do")
	}
	if !ts.Add("b:1", FromConfig, now) || !ts.Add("a:1", Discovered, now) || ts.Add("a:1", Discovered, now) {
		t.Fatal("Add does not say what is new")
	}
	if got := ts.Due(now); !slices.Equal(got, []string{"a:1", "b:1"}) {
		t.Fatalf("due: %v", got)
	}
	if got := ts.Due(now); got != nil {
		t.Fatalf("dialled twice at once: %v", got)
	}
	for i, ms := range []int64{200, 400, 800, 1600, 3200, 6400, 10000, 10000, 10000} {
		ts.Failed("a:1", "no route", now)
		x, _ := ts.Get("a:1")
		wait, most := x.Next.Sub(now), time.Duration(ms)*time.Millisecond
		if wait > most || wait < most/2 || x.Tries != i+1 || x.Reason != "no route" || x.State != Waiting {
			t.Fatalf("after %d failures: %v (%+v), want %v to %v", i+1, wait, x, most/2, most)
		}
		if ts.Next() != x.Next {
			t.Fatalf("Next is %v, want %v", ts.Next(), x.Next)
		}
		if early := ts.Due(x.Next.Add(-1)); early != nil {
			t.Fatalf("due before its time: %v", early)
		}
		now = x.Next
		if got := ts.Due(now); !slices.Equal(got, []string{"a:1"}) {
			t.Fatalf("due: %v", got)
		}
	}
	ts.Connected("a:1", now)
	if x, _ := ts.Get("a:1"); x.State != Connected || x.Reason != "" || !ts.Next().IsZero() {
		t.Fatalf("connected: %+v", x)
	}
	ts.Lost("a:1", "reset", now.Add(BackoffMax-1))
	if x, _ := ts.Get("a:1"); x.Next.Sub(now) < BackoffMax+BackoffMax/2-1 || x.Reason != "reset" {
		t.Fatalf("lost after a short while: %+v", x)
	}
	now = now.Add(2 * BackoffMax)
	ts.Due(now)
	ts.Connected("a:1", now)
	now = now.Add(BackoffMax)
	ts.Lost("a:1", "reset", now)
	if x, _ := ts.Get("a:1"); x.Next.Sub(now) > BackoffMin || x.Tries != 0 {
		t.Fatalf("lost after a good while: %+v", x)
	}
	for range 9 {
		ts.Failed("b:1", "refused", now)
	}
	ts.Nudge("b:1", now)
	if got := ts.Due(now); !slices.Equal(got, []string{"b:1"}) {
		t.Fatalf("due after the nudge: %v", got)
	}
	ts.Nudge("b:1", now)
	if x, _ := ts.Get("b:1"); x.State != Dialling {
		t.Fatalf("a nudge stopped the dial: %+v", x)
	}
	ts.Failed("b:1", "refused", now)
	if x, _ := ts.Get("b:1"); x.Next.Sub(now) > BackoffMin {
		t.Fatalf("a nudge left the back-off at %v", x.Next.Sub(now))
	}
}

func TestTargetsSources(t *testing.T) {
	now := time.Unix(100, 0)
	ts := NewTargets(rand.New(rand.NewPCG(1, 1)))
	ts.Add("a:1", Discovered, now)
	ts.Add("a:1", FromConnect, now)
	if x := ts.List()[0]; x.Source != FromConnect {
		t.Fatalf("source: %v", x.Source)
	}
	if ts.Remove("a:1", FromConnect) || ts.Remove("other:1", FromConnect) {
		t.Fatal("gone though it was discovered too, or never there")
	}
	if x := ts.List()[0]; x.Source.String() != "discovered" {
		t.Fatalf("source: %v", x.Source)
	}
	if !ts.Remove("a:1", Discovered) || len(ts.List()) != 0 {
		t.Fatal("nobody wants it, and it is still there")
	}
	ts.Failed("a:1", "late", now)
	ts.Lost("a:1", "late", now)
	ts.Connected("a:1", now)
	if len(ts.List()) != 0 {
		t.Fatal("late news brought it back")
	}
	for i := range MaxTargets + 1 {
		if got := ts.Add(nodeID(i).String(), Discovered, now); got != (i < MaxTargets) {
			t.Fatalf("discovered target %d: added %v", i, got)
		}
	}
	if !ts.Add("b:1", FromConfig, now) {
		t.Fatal("a configured target found no room")
	}
}

// Whatever happens, no target is dialled twice at once, none is lost, and a waiting one comes within BackoffMax.
func TestTargetsNeverStall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(100, 0)
		ts := NewTargets(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		names := []string{"a:1", "b:1", "c:1"}
		for _, n := range names {
			ts.Add(n, FromConfig, now)
		}
		dialling := map[string]bool{}
		connected := map[string]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 12000).Draw(t, "ms")) * time.Millisecond)
			for _, n := range ts.Due(now) {
				if dialling[n] || connected[n] {
					t.Fatalf("%s is dialled again", n)
				}
				dialling[n] = true
			}
			n := rapid.SampledFrom(names).Draw(t, "target")
			switch {
			case connected[n]:
				ts.Lost(n, "lost", now)
				connected[n] = false
			case !dialling[n]:
				ts.Nudge(n, now)
			case rapid.Bool().Draw(t, "success"):
				ts.Connected(n, now)
				dialling[n], connected[n] = false, true
			default:
				ts.Failed(n, "failed", now)
				dialling[n] = false
			}
			for _, x := range ts.List() {
				if x.State == Waiting && x.Next.Sub(now) > BackoffMax {
					t.Fatalf("%s waits %v", x.Address, x.Next.Sub(now))
				}
				if (x.State == Dialling) != dialling[x.Address] || (x.State == Connected) != connected[x.Address] {
					t.Fatalf("%s is %v", x.Address, x.State)
				}
			}
		}
	})
}
