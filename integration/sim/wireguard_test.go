package sim

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
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
		within(t, "handshake", b.shaken(0), 5*time.Second, 5*time.Second+rekeyJitter)
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

// modelBench drives two models.
type modelBench struct {
	clock *clock
	devs  [2]*wireguard
	at    [2]netip.AddrPort
	deaf  [2]bool
	count [2]int
	sends [2]int
}

// oneWay is the delay of the bench's underlay.
const oneWay = 10 * time.Millisecond

func newModelBench() *modelBench {
	b := &modelBench{clock: newClock(), at: outer}
	rng := rand.New(rand.NewPCG(1, 2))
	var indices uint64
	for i := range b.devs {
		b.devs[i] = newWireguard(b.clock, rng, &indices, wgKey(byte(i)))
	}
	for i, d := range b.devs {
		d.send = func(to netip.AddrPort, x datagram) {
			b.sends[i]++
			from := b.at[i]
			if to == b.at[1-i] && !b.deaf[1-i] {
				b.clock.after(oneWay, func() { b.devs[1-i].receive(from, x) })
			}
		}
		d.deliver = func(_ *wgPeer, _, _ netip.Addr, _ any) { b.count[i]++ }
	}
	return b
}

func (b *modelBench) key(end int, c peerChange) wgtypes.Key {
	if c.wrongKey {
		return wgKey(77).PublicKey()
	}
	return b.devs[1-end].public
}

func (b *modelBench) peer(end int, c peerChange) {
	var psk *wgtypes.Key
	if c.psk != 0 {
		psk = &wgtypes.Key{c.psk}
	}
	var to netip.AddrPort
	if c.endpoint {
		to = outer[1-end]
	}
	b.devs[end].set(b.key(end, c), psk, to, c.allowed, c.keepalive)
}

func (b *modelBench) unpeer(end int)                  { b.devs[end].remove(b.devs[1-end].public) }
func (b *modelBench) move(end int, to netip.AddrPort) { b.at[end] = to }
func (b *modelBench) blind(end int, deaf bool)        { b.deaf[end] = deaf }
func (b *modelBench) got(end int) int                 { return b.count[end] }
func (b *modelBench) sent(end int) int                { return b.sends[end] }

func (b *modelBench) send(end int, source netip.Addr) {
	b.devs[end].transmit(packet{source: source, dst: inner[1-end], size: 32, payload: "x"})
}

func (b *modelBench) wait(d time.Duration) {
	for end := b.clock.now.Add(d); b.clock.step(end); {
	}
}

func (b *modelBench) endpoint(end int) string {
	return b.devs[end].peers[b.devs[1-end].public].endpoint.String()
}

func (b *modelBench) shaken(end int) time.Duration {
	p := b.devs[end].peers[b.devs[1-end].public]
	if p.lastHandshake.IsZero() {
		return -1
	}
	return p.lastHandshake.Sub(start)
}

// realBench drives two devices of wireguard-go over memory.
type realBench struct {
	t     *testing.T
	began time.Time
	keys  [2]wgtypes.Key
	devs  [2]*device.Device
	tuns  [2]*tuntest.ChannelTUN
	binds [2]*memoryBind

	mu    sync.Mutex
	at    [2]netip.AddrPort
	deaf  [2]bool
	count [2]int
	sends [2]int
}

func newRealBench(t *testing.T) *realBench {
	b := &realBench{t: t, began: time.Now(), at: outer}
	for i := range b.devs {
		b.keys[i] = wgKey(byte(i))
		b.tuns[i] = tuntest.NewChannelTUN()
		b.binds[i] = &memoryBind{bench: b, end: i}
		b.devs[i] = device.NewDevice(b.tuns[i].TUN(), b.binds[i], &device.Logger{
			Verbosef: func(string, ...any) {}, Errorf: func(f string, a ...any) { t.Logf("end %d: "+f, append([]any{i}, a...)...) },
		})
		b.uapi(i, "private_key="+hex.EncodeToString(b.keys[i][:]))
		if err := b.devs[i].Up(); err != nil {
			t.Fatal(err)
		}
		go func() {
			for {
				select {
				case <-b.tuns[i].Inbound:
				case <-b.devs[i].Wait():
					return
				}
				b.mu.Lock()
				b.count[i]++
				b.mu.Unlock()
			}
		}()
	}
	return b
}

func (b *realBench) close() {
	for i := range b.devs {
		b.devs[i].Close()
	}
	synctest.Wait()
}

func (b *realBench) uapi(end int, lines ...string) {
	b.t.Helper()
	if err := b.devs[end].IpcSet(strings.Join(lines, "\n") + "\n"); err != nil {
		b.t.Fatal(err)
	}
	synctest.Wait()
}

func (b *realBench) public(end int) string {
	k := b.keys[end].PublicKey()
	return hex.EncodeToString(k[:])
}

func (b *realBench) peer(end int, c peerChange) {
	key := b.public(1 - end)
	if c.wrongKey {
		k := wgKey(77).PublicKey()
		key = hex.EncodeToString(k[:])
	}
	lines := []string{"public_key=" + key}
	if c.psk != 0 {
		lines = append(lines, "preshared_key="+hex.EncodeToString([]byte{c.psk})+strings.Repeat("00", 31))
	}
	if c.endpoint {
		lines = append(lines, "endpoint="+outer[1-end].String())
	}
	for _, a := range c.allowed {
		lines = append(lines, "allowed_ip="+a.String())
	}
	if c.keepalive != 0 {
		lines = append(lines, fmt.Sprintf("persistent_keepalive_interval=%d", c.keepalive/time.Second))
	}
	b.uapi(end, lines...)
	b.keep(end, key)
}

// kept holds the tunnels of all benches for ever: wireguard-go drains the queues of a tunnel in a finalizer, and those
// run outside the bubble whose channels these are.
var kept []*device.Peer

func (b *realBench) keep(end int, key string) {
	var pub device.NoisePublicKey
	if err := pub.FromHex(key); err != nil {
		b.t.Fatal(err)
	}
	kept = append(kept, b.devs[end].LookupPeer(pub))
}

func (b *realBench) unpeer(end int) { b.uapi(end, "public_key="+b.public(1-end), "remove=true") }

func (b *realBench) move(end int, to netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.at[end] = to
}

func (b *realBench) blind(end int, deaf bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.deaf[end] = deaf
}

func (b *realBench) send(end int, source netip.Addr) {
	b.tuns[end].Outbound <- tuntest.Ping(inner[1-end], source)
	synctest.Wait()
}

func (b *realBench) wait(d time.Duration) {
	time.Sleep(d) // virtual: the bubble's clock moves on when everybody waits
	synctest.Wait()
}

func (b *realBench) got(end int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.count[end]
}

func (b *realBench) sent(end int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sends[end]
}

// field reads one value of the only peer from the device's own report.
func (b *realBench) field(end int, name string) string {
	report, err := b.devs[end].IpcGet()
	if err != nil {
		b.t.Fatal(err)
	}
	for line := range strings.Lines(report) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return v
		}
	}
	return ""
}

func (b *realBench) endpoint(end int) string { return b.field(end, "endpoint") }

func (b *realBench) shaken(end int) time.Duration {
	var sec, nsec int64
	_, _ = fmt.Sscan(b.field(end, "last_handshake_time_sec"), &sec) // zero when it is not there
	_, _ = fmt.Sscan(b.field(end, "last_handshake_time_nsec"), &nsec)
	if sec == 0 && nsec == 0 {
		return -1
	}
	return time.Unix(sec, nsec).Sub(b.began)
}

// memoryBind is a conn.Bind whose network is the bench.
type memoryBind struct {
	bench  *realBench
	end    int
	mu     sync.Mutex
	in     chan memoryDatagram
	closed chan struct{}
}

type memoryDatagram struct {
	from memoryEndpoint
	data []byte
}

// memoryEndpoint is an address on the bench.
type memoryEndpoint netip.AddrPort

func (memoryEndpoint) ClearSrc()             {}
func (memoryEndpoint) SrcToString() string   { return "" }
func (memoryEndpoint) SrcIP() netip.Addr     { return netip.Addr{} }
func (e memoryEndpoint) DstToString() string { return netip.AddrPort(e).String() }
func (e memoryEndpoint) DstIP() netip.Addr   { return netip.AddrPort(e).Addr() }
func (e memoryEndpoint) DstToBytes() []byte {
	b, _ := netip.AddrPort(e).MarshalBinary() // never fails
	return b
}

func (m *memoryBind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	in, closed := make(chan memoryDatagram, 1024), make(chan struct{})
	m.mu.Lock()
	m.in, m.closed = in, closed
	m.mu.Unlock()
	receive := func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case <-closed:
			return 0, net.ErrClosed
		case d := <-in:
			sizes[0], eps[0] = copy(packets[0], d.data), d.from
			return 1, nil
		}
	}
	return []conn.ReceiveFunc{receive}, outer[m.end].Port(), nil
}

func (m *memoryBind) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed != nil {
		close(m.closed)
		m.closed = nil
	}
	return nil
}

func (m *memoryBind) SetMark(uint32) error { return nil }
func (m *memoryBind) BatchSize() int       { return 1 }

func (m *memoryBind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	return memoryEndpoint(a), err
}

func (m *memoryBind) Send(packets [][]byte, ep conn.Endpoint) error {
	to, ok := ep.(memoryEndpoint)
	if !ok {
		return errors.New("not an endpoint of the bench")
	}
	b, far := m.bench, 1-m.end
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sends[m.end] += len(packets)
	if netip.AddrPort(to) != b.at[far] || b.deaf[far] {
		return nil
	}
	for _, p := range packets {
		d := memoryDatagram{memoryEndpoint(b.at[m.end]), append([]byte(nil), p...)}
		time.AfterFunc(oneWay, func() { b.binds[far].take(d) })
	}
	return nil
}

// take hands a datagram to the receiver, or loses it when the device is closed.
func (m *memoryBind) take(d memoryDatagram) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed == nil {
		return
	}
	select {
	case m.in <- d:
	default:
	}
}
