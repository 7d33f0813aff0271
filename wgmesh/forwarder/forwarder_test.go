package forwarder

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/wgmesh/relay"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// joinedEnds makes two ends of one binding, registered.
func joinedEnds(t *testing.T, f *Forwarder, one, two string) (a, b *end, binding relay.Binding) {
	t.Helper()
	binding = bind(t, f, pair(1, keyA, keyB))
	a, b = endAt(t, f, one), endAt(t, f, two)
	a.register(f, binding.Legs[0])
	b.register(f, binding.Legs[1])
	return a, b, binding
}

func TestSession(t *testing.T) {
	for _, at := range [][2]string{{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"127.0.0.1", "::1"}, {"127.0.0.3", "127.0.0.7"}} {
		f := running(t)
		a, b, _ := joinedEnds(t, f, at[0], at[1])
		a.send(data(2, 100, 0)) // before the handshake
		handshake(a, b)
		for i := range uint64(10) {
			p, q := data(2, 32+int(i)*16, i), data(1, 1500, i)
			a.send(p)
			b.wants(p)
			b.send(q)
			a.wants(q)
		}
		c := f.Counters()
		if c.Drops[relay.NoFlow] != 1 || c.ReceivedPackets != 27 || c.SentPackets != 26 {
			t.Errorf("%v: %+v", at, c)
		}
		if s := f.Bindings(); len(s) != 1 || s[0].Sent[0].Packets != 11 || s[0].Sent[1].Packets != 11 {
			t.Errorf("%v: %+v", at, s)
		}
	}
}

// What one session sends in one go arrives in one go, whole and in order; the last datagram may be shorter.
func TestSegmentsOfSeveralSessions(t *testing.T) {
	for _, address := range []string{"127.0.0.1", "::1"} {
		f := running(t)
		a, b, _ := joinedEnds(t, f, address, address)
		handshake(a, b)
		var want [][]byte
		raw, err := a.conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		for burst := range 20 {
			var all []byte
			for i := range 40 {
				size := 1200
				if i == 39 {
					size = 700
				}
				index := uint32(2)
				if burst%2 == 1 && i%10 == 3 {
					index = 99 // of no session: drops out of the middle
				}
				p := data(index, size, uint64(burst*100+i))
				all = append(all, p...)
				if index == 2 {
					want = append(want, p)
				}
			}
			var to name
			to.set(a.relay)
			var c control
			c.set(map[bool]int{true: unix.AF_INET, false: unix.AF_INET6}[a.relay.Addr().Is4()], meta{}, 1200)
			if err := raw.Write(func(fd uintptr) bool {
				var sa unix.Sockaddr = &unix.SockaddrInet4{Port: int(a.relay.Port()), Addr: netip.MustParseAddr("127.0.0.1").As4()}
				if a.relay.Addr().Is6() {
					sa = &unix.SockaddrInet6{Port: int(a.relay.Port()), Addr: netip.IPv6Loopback().As16()}
				}
				_, err = unix.SendmsgN(int(fd), all, c.b[:c.len], sa, 0)
				return !errors.Is(err, unix.EAGAIN)
			}); err != nil {
				t.Fatal(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range want {
				b.wants(p)
			}
			want = want[:0]
		}
		if c := f.Counters(); c.Drops[relay.NoFlow] != 40 {
			t.Errorf("%s: %+v", address, c)
		}
	}
}

func TestHopsCountDown(t *testing.T) {
	f := running(t)
	a, b, _ := joinedEnds(t, f, "127.0.0.1", "::1")
	handshake(a, b)
	raw := ipv4.NewConn(a.conn)
	send := func(ttl, tos int) {
		if err := errors.Join(raw.SetTTL(ttl), raw.SetTOS(tos)); err != nil {
			t.Fatal(err)
		}
		a.send(data(2, 100, uint64(ttl)))
	}
	b6 := ipv6.NewPacketConn(b.conn)
	if err := b6.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagTrafficClass, true); err != nil {
		t.Fatal(err)
	}
	send(1, 0)
	send(2, 0)
	send(64, 1) // 1 and 3 are marks of congestion control (RFC 3168)
	send(255, 3)
	ttl, tos := b.headers(3)
	if !slices.Equal(ttl, []int{1, 63, 254}) || !slices.Equal(tos, []int{0, 1, 3}) {
		t.Errorf("arrived with hop limits %v, classes %v", ttl, tos)
	}
	if c := f.Counters(); c.Drops[relay.Hops] != 1 {
		t.Errorf("%+v", c.Drops)
	}
	a4 := ipv4.NewPacketConn(a.conn)
	if err := a4.SetControlMessage(ipv4.FlagTTL, true); err != nil {
		t.Fatal(err)
	}
	if err := ipv6.NewConn(b.conn).SetHopLimit(33); err != nil {
		t.Fatal(err)
	}
	b.send(data(1, 100, 0))
	if ttl, _ := a.headers(1); ttl[0] != 32 {
		t.Errorf("arrived with TTL %v", ttl)
	}
}

// A NAT lets nothing in but from where it sent to: a relay with several addresses answers from the one that it was
// asked at, and forwards from it.
func TestAnswersComeFromWhereTheQuestionWent(t *testing.T) {
	f := running(t)
	_, b, binding := joinedEnds(t, f, "127.0.0.1", "127.0.0.1")
	a := endAt(t, f, "127.0.0.1")
	a.relay = netip.AddrPortFrom(netip.MustParseAddr("127.7.7.7"), f.Port())
	a.register(f, binding.Legs[0])
	handshake(a, b)
	b.send(data(1, 64, 1))
	a.wants(data(1, 64, 1))

	// An address that is gone is not used any more. 192.0.2.0/24 is nobody's (RFC 5737).
	f.mu.Lock()
	f.sources[a.addr()] = netip.MustParseAddr("192.0.2.1")
	f.mu.Unlock()
	a.relay = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), f.Port())
	b.send(data(1, 64, 2))
	a.wants(data(1, 64, 2))
	f.mu.Lock()
	for i := range 1000 {
		f.sources[netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i))] = netip.IPv6Loopback()
	}
	f.mu.Unlock()
	f.expire(time.Now())
	if n := len(f.sources); n > 2 {
		t.Errorf("remembers %d addresses", n)
	}
}

func TestGarbageIsNotAnswered(t *testing.T) {
	f := running(t)
	a, b, binding := joinedEnds(t, f, "127.0.0.1", "127.0.0.1")
	handshake(a, b)
	a.send([]byte("hello"))
	a.send(nil)
	a.send(scout.Encode(binding.Legs[0].Scout, scout.Message{Kind: scout.Request, Tx: 9, Counter: 1})) // a repeated one
	a.send(data(77, 100, 0))
	a.send(data(2, 100, 1))
	b.wants(data(2, 100, 1)) // nothing else
	c := f.Counters()
	if c.Drops[relay.Garbage] != 2 || c.Drops[relay.Scout] != 1 || c.Drops[relay.NoFlow] != 1 || c.SentPackets != 4+2+1 {
		t.Errorf("%+v", c)
	}
}

func TestRelaysRegisterWithEachOther(t *testing.T) {
	one, two := running(t), running(t)
	b := bind(t, one, pair(1, keyA, keyB))
	bind(t, two, b)
	local := netip.MustParseAddr("127.0.0.1")
	if err := one.Register(b.ID, 1, netip.AddrPortFrom(local, two.Port())); err != nil {
		t.Fatal(err)
	}
	here, there := netip.AddrPortFrom(local, one.Port()), netip.AddrPortFrom(local, two.Port())
	want := Registered{ID: b.ID, Leg: 1, Addr: here, First: true, Observed: there}
	if got := event(t, two); got != want {
		t.Errorf("there: %+v, want %+v", got, want)
	}
	want = Registered{ID: b.ID, Leg: 1, Addr: there, First: true, Observed: here}
	if got := event(t, one); got != want {
		t.Errorf("here: %+v, want %+v", got, want)
	}
	if err := one.Register(relay.ID{9}, 1, netip.AddrPortFrom(local, two.Port())); err == nil {
		t.Error("registers for a binding that is not there")
	}
}

// An end whose NAT gave it another port is asked there, and its session goes on.
func TestMovedEnd(t *testing.T) {
	f := running(t)
	a, b, binding := joinedEnds(t, f, "127.0.0.1", "127.0.0.1")
	handshake(a, b)
	moved := endAt(t, f, "127.0.0.1")
	moved.send(data(2, 100, 1))
	moved.asked(binding.Legs[0])
	if r, ok := event(t, f).(Registered); !ok || !r.Moved || r.First || r.Addr != moved.addr() {
		t.Fatalf("event %+v", r)
	}
	moved.send(data(2, 100, 2))
	b.wants(data(2, 100, 2))
	b.send(data(1, 100, 3))
	moved.wants(data(1, 100, 3))
}

func TestBindingsExpire(t *testing.T) {
	f := running(t)
	b := pair(1, keyA, keyB)
	b.Expires = time.Now().Add(10 * time.Millisecond)
	bind(t, f, b)
	bind(t, f, pair(2, keyA, keyB))
	if got := event(t, f); got != (Expired{ID: b.ID}) {
		t.Errorf("event %+v", got)
	}
	f.Unbind(relay.ID{2})
	if s := f.Bindings(); len(s) != 0 {
		t.Errorf("left %+v", s)
	}
}

func TestPortIsTaken(t *testing.T) {
	for _, network := range []string{"udp4", "udp6"} {
		c, err := net.ListenPacket(network, ":0")
		if err != nil {
			t.Fatal(err)
		}
		port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		if f, err := Open(port, relay.Limits{}, zap.NewNop()); !errors.Is(err, unix.EADDRINUSE) || f != nil {
			t.Errorf("%s: %v", network, err)
		}
		c.Close()
		f, err := Open(port, relay.Limits{}, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if f.Port() != port {
			t.Errorf("port %d, want %d", f.Port(), port)
		}
		if err := errors.Join(f.Close(), f.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestQueuesAreLong(t *testing.T) {
	f := running(t)
	for _, s := range f.sockets {
		for _, o := range []int{unix.SO_RCVBUF, unix.SO_SNDBUF} {
			var got int
			var err error
			if e := s.conn.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, o) }); e != nil || err != nil {
				t.Fatal(e, err)
			}
			if got < queueBytes {
				t.Errorf("%s: option %d is %d", s.file.Name(), o, got)
			}
		}
	}
}

// Events wait for a slow reader, and do not grow meanwhile.
func TestEventsOfOneLegAreToldOnce(t *testing.T) {
	e := newEvents()
	for i := range 100 {
		e.put(Registered{ID: relay.ID{1}, Leg: i % 2, First: i < 2, Addr: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i))})
	}
	e.put(Expired{ID: relay.ID{1}})
	got := e.take()
	if len(got) != 3 || !got[0].(Registered).First || got[0].(Registered).Addr.Port() != 98 || got[2] != (Expired{ID: relay.ID{1}}) {
		t.Errorf("%+v", got)
	}
	if len(e.take()) != 0 {
		t.Error("told twice")
	}
}

func TestControlMessages(t *testing.T) {
	m := meta{ttl: 7, tos: 3, local: netip.MustParseAddr("2001:db8::1")}
	var c control
	c.set(unix.AF_INET6, m, 0)
	if got, size := c.get(); got != m || size != 0 {
		t.Errorf("%+v, %d", got, size)
	}
	for n := range c.len { // whatever is cut off is not read
		cut := c
		cut.len = n
		cut.get()
	}
	c.set(unix.AF_INET, meta{ttl: 7, tos: 3, local: netip.MustParseAddr("192.0.2.1")}, 1400)
	if parsed, err := syscall.ParseSocketControlMessage(c.b[:c.len]); err != nil || len(parsed) != 4 {
		t.Errorf("%d control messages, %v", len(parsed), err)
	}
}
