package control

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// testGate drives a gate in made-up time.
type testGate struct {
	*gate
	now     time.Time
	dropped int
}

func newTestGate() *testGate { return &testGate{gate: newGate(), now: time.Unix(1e9, 0)} }

func (g *testGate) from(addr string) (*pass, bool) {
	return g.enter(g.now, netip.MustParseAddr(addr), func() { g.dropped++ })
}

func (g *testGate) check(t *testing.T) {
	t.Helper()
	open := 0
	g.prefixes.all(func(_ netip.Prefix, b *budget) { open += b.open })
	if g.open < 0 || g.open > maxHalfOpen || open != g.open || g.waiting.Len() > g.open || len(g.prefixes.byKey) > maxPrefixes ||
		len(g.unknown.byKey) > maxStrangers || len(g.members.byKey) > maxMembers || g.prefixes.order.Len() != len(g.prefixes.byKey) {
		t.Fatalf("open %d (by prefix %d), waiting %d, prefixes %d", g.open, open, g.waiting.Len(), len(g.prefixes.byKey))
	}
}

func TestGateBudgetOfAPrefix(t *testing.T) {
	for name, c := range map[string]struct {
		addr  func(int) string
		other string
	}{
		"IPv4 address": {func(int) string { return "198.51.100.9" }, "198.51.100.10"},
		"IPv6 /64":     {func(i int) string { return fmt.Sprintf("2001:db8::%x", i+1) }, "2001:db8:0:1::1"},
		"mapped":       {func(int) string { return "::ffff:198.51.100.9" }, "198.51.100.10"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newTestGate()
			var passes []*pass
			for i := range 100 {
				if p, ok := g.from(c.addr(i)); ok {
					passes = append(passes, p)
				}
			}
			if len(passes) != maxPrefixHalfOpen {
				t.Fatalf("%d half-open", len(passes))
			}
			if _, ok := g.from(c.other); !ok {
				t.Fatal("another prefix suffers")
			}
			for _, p := range passes {
				g.leave(g.now, p, false)
			}
			// Connections that fail at once are limited by their rate.
			entered := 0
			for range 1000 {
				if p, ok := g.from(c.addr(0)); ok {
					entered++
					g.leave(g.now, p, false)
				}
			}
			if entered != prefixBurst-maxPrefixHalfOpen {
				t.Fatalf("%d entered at once", entered)
			}
			g.now = g.now.Add(time.Second)
			for range 1000 {
				if p, ok := g.from(c.addr(0)); ok {
					entered++
					g.leave(g.now, p, false)
				}
			}
			if entered != prefixBurst-maxPrefixHalfOpen+prefixRate {
				t.Fatalf("%d entered in a second", entered)
			}
			g.check(t)
			if s := g.strangers(); len(s) != 1 || s[0].Connections != 100+2000 {
				t.Fatalf("strangers %+v", s)
			}
		})
	}
}

// TestGateUnderFlood: strangers with any number of addresses fill neither the members' lane nor memory, and a member
// from a new address still gets in.
func TestGateUnderFlood(t *testing.T) {
	g := newTestGate()
	p, ok := g.from("203.0.113.7")
	if !ok {
		t.Fatal("first connection refused")
	}
	g.knocked(p)
	g.leave(g.now, p, true) // a member lives there
	for i := range 20000 {
		g.now = g.now.Add(100 * time.Microsecond)
		if _, ok := g.from(fmt.Sprintf("10.%d.%d.1", i/256, i%256)); !ok {
			t.Fatal("the newest is refused, not the oldest")
		}
		if i%500 == 0 {
			g.check(t)
		}
	}
	if g.open != maxHalfOpen-reservedHalfOpen || g.dropped != 20000-g.open {
		t.Fatalf("%d open, %d dropped", g.open, g.dropped)
	}
	// A member from an unknown address has a round trip until the flood pushes it out; then it has knocked and stays.
	fresh, ok := g.from("203.0.113.8")
	if !ok {
		t.Fatal("a new member is refused")
	}
	for i := range 150 {
		g.from(fmt.Sprintf("172.16.%d.1", i))
	}
	if fresh.gone {
		t.Fatal("pushed out at once")
	}
	g.knocked(fresh)
	for i := range 1000 {
		g.from(fmt.Sprintf("172.17.%d.%d", i/256, i%256))
	}
	if fresh.gone {
		t.Fatal("pushed out after the knock")
	}
	// Members that are known use the lane, up to their own limit, and strangers do not push them out.
	var members []*pass
	for range maxPrefixHalfOpen {
		m, ok := g.from("203.0.113.7")
		if !ok {
			t.Fatal("the members' lane is closed")
		}
		members = append(members, m)
	}
	if _, ok := g.from("203.0.113.7"); ok {
		t.Fatal("no limit for members")
	}
	for i := range 1000 {
		g.from(fmt.Sprintf("172.18.%d.%d", i/256, i%256))
	}
	g.check(t)
	for _, m := range members {
		if m.gone {
			t.Fatal("strangers push out members")
		}
		g.leave(g.now, m, true)
	}
	// Who knocked cannot be pushed out: replayed knocks fill the open lane, and members still have theirs.
	g = newTestGate()
	p, _ = g.from("203.0.113.7")
	g.leave(g.now, p, true)
	refused := 0
	for i := range 1000 {
		if p, ok := g.from(fmt.Sprintf("10.0.%d.%d", i/256, i%256)); ok {
			g.knocked(p)
		} else {
			refused++
		}
	}
	if _, ok := g.from("203.0.113.7"); !ok || refused != 1000-(maxHalfOpen-reservedHalfOpen) {
		t.Fatalf("member %v, refused %d", ok, refused)
	}
	g.check(t)
	// An hour later the member is one like any other.
	g.now = g.now.Add(memberMemory)
	if _, ok := g.from("203.0.113.7"); ok {
		t.Fatal("remembered for ever")
	}
}

func TestGateTablesAreBounded(t *testing.T) {
	g := newTestGate()
	for i := range 3 * maxPrefixes {
		g.now = g.now.Add(time.Millisecond)
		p, ok := g.from(fmt.Sprintf("2001:db8:%x:%x::1", i>>16, i&0xffff))
		if !ok {
			t.Fatal("refused")
		}
		g.leave(g.now, p, i%2 == 0)
	}
	g.check(t)
	if len(g.prefixes.byKey) != maxPrefixes || len(g.members.byKey) != maxMembers || len(g.strangers()) != maxStrangers {
		t.Fatalf("%d %d %d", len(g.prefixes.byKey), len(g.members.byKey), len(g.strangers()))
	}
}
