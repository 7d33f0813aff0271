package sim

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// bench is two WireGuard devices, 0 and 1, on one underlay, as a script drives them. The same scripts run against the
// model and against wireguard-go, both in virtual time (wireguard-go inside a testing/synctest bubble), so the long
// timers are compared too.
type bench interface {
	peer(end int, c peerChange)
	unpeer(end int)
	move(end int, to netip.AddrPort) // the device's packets come from another address from now on
	blind(end int, deaf bool)        // what is sent to this end is lost
	send(end int, source netip.Addr) // a packet to the other end's inner address
	wait(d time.Duration)
	got(end int) int // packets that came out, without keepalives
	endpoint(end int) string
	shaken(end int) time.Duration // time since the start of the script of the last handshake; negative: never
	sent(end int) int             // datagrams put on the underlay
}

// peerChange is what a script sets of the other end's entry. Zero leaves as is.
type peerChange struct {
	psk       byte
	endpoint  bool // the other end's first address
	allowed   []netip.Prefix
	keepalive time.Duration
	wrongKey  bool // an entry for a third key instead
}

var (
	inner = [2]netip.Addr{netip.MustParseAddr("10.9.0.1"), netip.MustParseAddr("10.9.0.2")}
	outer = [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:6783"), netip.MustParseAddrPort("192.0.2.2:6783")}
	moved = netip.MustParseAddrPort("198.51.100.7:40000")
)

func only(a netip.Addr) []netip.Prefix { return []netip.Prefix{netip.PrefixFrom(a, a.BitLen())} }

func wgKey(n byte) wgtypes.Key {
	k := wgtypes.Key{n, 1, 2, 3}
	k[0] &= 248
	k[31] = k[31]&127 | 64
	k[1] = n
	return k
}

// join makes the usual pair of entries.
func join(b bench, psk0, psk1 byte) {
	b.peer(0, peerChange{psk: psk0, endpoint: true, allowed: only(inner[1])})
	b.peer(1, peerChange{psk: psk1, endpoint: true, allowed: only(inner[0])})
}

func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// within checks a time against what the protocol's jitter allows.
func within(t *testing.T, what string, got, low, high time.Duration) {
	t.Helper()
	if got < low || got > high {
		t.Errorf("%s: %v, want %v to %v", what, got, low, high)
	}
}

var conformance = []struct {
	name   string
	script func(*testing.T, bench)
}{
	{"handshake on first packet", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.wait(time.Second)
		expect(t, "datagrams before there is something to say", b.sent(0)+b.sent(1), 0)
		b.send(0, inner[0])
		b.wait(time.Second)
		expect(t, "packets at 1", b.got(1), 1)
		within(t, "handshake at 0", b.shaken(0), time.Second, time.Second+100*time.Millisecond)
		within(t, "handshake at 1", b.shaken(1), time.Second, time.Second+100*time.Millisecond)
		b.send(1, inner[1])
		b.wait(time.Second)
		expect(t, "packets at 0", b.got(0), 1)
	}},
	{"keepalive makes the handshake without a packet", func(t *testing.T, b bench) {
		b.peer(1, peerChange{psk: 7, allowed: only(inner[0])})
		b.peer(0, peerChange{psk: 7, endpoint: true, allowed: only(inner[1]), keepalive: 25 * time.Second})
		b.wait(time.Second)
		within(t, "handshake at 1", b.shaken(1), 0, 100*time.Millisecond)
		expect(t, "1 learnt where 0 is", b.endpoint(1), outer[0].String())
		expect(t, "datagrams of 0", b.sent(0), 2) // initiation, keepalive
		b.wait(25 * time.Second)
		expect(t, "datagrams of 0 after 25 s more", b.sent(0), 3)
		expect(t, "datagrams of 1, which keeps nothing alive", b.sent(1), 1)
	}},
	{"different pre-shared keys carry nothing", func(t *testing.T, b bench) {
		join(b, 7, 8)
		b.send(0, inner[0])
		b.wait(30 * time.Second)
		expect(t, "packets at 1", b.got(1), 0)
		within(t, "handshake at 0", b.shaken(0), -1, -1)
		within(t, "handshake at 1", b.shaken(1), -1, -1)
		b.peer(1, peerChange{psk: 7})
		b.wait(6 * time.Second)
		expect(t, "packets at 1 once the keys are equal", b.got(1), 1)
	}},
	{"a changed pre-shared key counts from the next handshake", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.wait(time.Second)
		b.peer(0, peerChange{psk: 9})
		for range 100 {
			b.send(0, inner[0])
			b.wait(time.Second)
		}
		expect(t, "packets at 1 in the running session", b.got(1), 101)
		for range 100 {
			b.send(0, inner[0])
			b.wait(time.Second)
		}
		if b.got(1) < 170 || b.got(1) > 182 {
			t.Errorf("packets at 1: %d, want those of 180 s", b.got(1))
		}
	}},
	{"an unknown key is met with silence", func(t *testing.T, b bench) {
		b.peer(0, peerChange{psk: 7, endpoint: true, allowed: only(inner[1])})
		b.peer(1, peerChange{psk: 7, endpoint: true, allowed: only(inner[0]), wrongKey: true})
		b.send(0, inner[0])
		b.wait(20 * time.Second)
		expect(t, "datagrams of 1", b.sent(1), 0)
		expect(t, "packets at 1", b.got(1), 0)
		if n := b.sent(0); n != 4 { // at 0, 5, 10, 15 s and jitter
			t.Errorf("initiations of 0: %d, want 4", n)
		}
	}},
	{"an initiation for another key is met with silence", func(t *testing.T, b bench) {
		b.peer(0, peerChange{psk: 7, endpoint: true, allowed: only(inner[1]), wrongKey: true})
		b.peer(1, peerChange{psk: 7, endpoint: true, allowed: only(inner[0])})
		b.send(0, inner[0])
		b.wait(time.Second)
		expect(t, "datagrams of 1", b.sent(1), 0)
	}},
	{"roaming to the source of authenticated packets", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.wait(time.Second)
		expect(t, "endpoint of 0 as 1 has it", b.endpoint(1), outer[0].String())
		b.move(0, moved)
		b.send(0, inner[0])
		b.wait(time.Second)
		expect(t, "endpoint of 0 after it moved", b.endpoint(1), moved.String())
		b.send(1, inner[1])
		b.wait(time.Second)
		expect(t, "packets at 0 where it is now", b.got(0), 1)
	}},
	{"a written endpoint loses against roaming", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.wait(time.Second)
		b.move(0, moved)
		b.send(0, inner[0])
		b.wait(time.Second)
		b.peer(1, peerChange{endpoint: true})
		expect(t, "endpoint as written", b.endpoint(1), outer[0].String())
		b.send(0, inner[0])
		b.wait(time.Second)
		expect(t, "endpoint after the next packet", b.endpoint(1), moved.String())
	}},
	{"a source that is not allowed is dropped", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.send(0, netip.MustParseAddr("10.9.0.77"))
		b.send(0, inner[1])
		b.wait(time.Second)
		expect(t, "packets at 1", b.got(1), 1)
	}},
	{"no tunnel for the destination", func(t *testing.T, b bench) {
		b.peer(0, peerChange{psk: 7, endpoint: true, allowed: only(netip.MustParseAddr("10.9.0.99"))})
		b.peer(1, peerChange{psk: 7, endpoint: true, allowed: only(inner[0])})
		b.send(0, inner[0])
		b.wait(time.Second)
		expect(t, "datagrams of 0", b.sent(0), 0)
	}},
	{"initiations are repeated every 5 s for 90 s", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.blind(1, true)
		b.send(0, inner[0])
		b.wait(80 * time.Second)
		if n := b.sent(0); n < 15 || n > 16 {
			t.Errorf("initiations in 80 s: %d", n)
		}
		b.wait(120 * time.Second)
		expect(t, "initiations in all", b.sent(0), 20)
		b.blind(1, false)
		b.wait(time.Minute)
		expect(t, "packets at 1: it was given up", b.got(1), 0)
		b.send(0, inner[0])
		b.wait(time.Second)
		expect(t, "packets at 1 after a new one", b.got(1), 1)
	}},
	{"a packet waits for the handshake", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.blind(1, true)
		for range 3 {
			b.send(0, inner[0])
			b.wait(time.Second)
		}
		b.blind(1, false)
		b.wait(3 * time.Second)
		expect(t, "packets at 1", b.got(1), 3)
		// The jitter, and then a round trip.
		within(t, "handshake", b.shaken(0), 5*time.Second, 5*time.Second+rekeyJitter+100*time.Millisecond)
	}},
	{"the initiator renews the session after 120 s", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.wait(119 * time.Second)
		b.send(0, inner[0])
		b.send(1, inner[1])
		b.wait(2 * time.Second)
		within(t, "handshake", b.shaken(0), 0, time.Second)
		b.send(1, inner[1]) // the responder does not
		b.wait(time.Second)
		within(t, "handshake", b.shaken(0), 0, time.Second)
		b.send(0, inner[0])
		b.wait(time.Second)
		within(t, "handshake", b.shaken(0), 121*time.Second, 123*time.Second)
		expect(t, "packets at 1", b.got(1), 3)
		expect(t, "packets at 0", b.got(0), 2)
	}},
	{"a session older than 180 s carries nothing", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.wait(181 * time.Second)
		b.blind(0, true)
		b.send(1, inner[1])
		b.wait(time.Second)
		before := b.sent(1)
		expect(t, "packets at 0", b.got(0), 0)
		b.blind(0, false)
		b.wait(6 * time.Second)
		expect(t, "packets at 0 after a handshake", b.got(0), 1)
		within(t, "handshake", b.shaken(1), 186*time.Second, 187*time.Second)
		if b.sent(1) <= before {
			t.Error("no further initiation")
		}
	}},
	{"the initiator renews in the last minute when it only listens", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.wait(166 * time.Second)
		b.send(1, inner[1])
		b.wait(time.Second)
		within(t, "handshake", b.shaken(0), 166*time.Second, 167*time.Second)
		expect(t, "packets at 0", b.got(0), 1)
	}},
	{"received data is answered within 10 s", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.wait(9 * time.Second)
		expect(t, "datagrams of 1", b.sent(1), 1) // response
		b.wait(2 * time.Second)
		expect(t, "datagrams of 1 after 10 s", b.sent(1), 2)
		b.wait(time.Minute)
		expect(t, "datagrams of 1 in the end", b.sent(1), 2)
		expect(t, "datagrams of 0: initiation, keepalive or data", b.sent(0) <= 3, true)
	}},
	{"15 s without an answer begin a new handshake", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.wait(20 * time.Second)
		b.unpeer(1)
		b.peer(1, peerChange{psk: 7, allowed: only(inner[0])}) // it lost its sessions and does not know where 0 is
		before := b.sent(0)
		b.send(0, inner[0])
		b.wait(14 * time.Second)
		expect(t, "datagrams of 0", b.sent(0), before+1)
		expect(t, "packets at 1", b.got(1), 1)
		b.wait(2 * time.Second)
		within(t, "handshake", b.shaken(1), 35*time.Second, 36*time.Second)
		b.send(0, inner[0])
		b.wait(time.Second)
		expect(t, "packets at 1", b.got(1), 2)
	}},
	{"a removed tunnel ends at once", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.wait(time.Second)
		b.unpeer(1)
		b.send(0, inner[0])
		b.wait(time.Second)
		expect(t, "packets at 1", b.got(1), 1)
	}},
	{"both begin at once", func(t *testing.T, b bench) {
		join(b, 7, 7)
		b.send(0, inner[0])
		b.send(1, inner[1])
		b.wait(20 * time.Second)
		expect(t, "packets at 0", b.got(0), 1)
		expect(t, "packets at 1", b.got(1), 1)
	}},
}

func TestWireGuardModel(t *testing.T) {
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) { c.script(t, newModelBench()) })
	}
}

func TestWireGuardGo(t *testing.T) {
	for _, c := range conformance {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRealBench(t)
				defer b.close()
				c.script(t, b)
			})
		})
	}
}
