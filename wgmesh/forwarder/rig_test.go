package forwarder

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	"golang.org/x/crypto/blake2s"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/relay"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

var (
	keyA = [32]byte{'a'}
	keyB = [32]byte{'b'}
)

// running opens a forwarder on loopback's free port and runs it until the test ends.
func running(t testing.TB) *Forwarder {
	t.Helper()
	f, err := Open(0, relay.Limits{}, zaptest.NewLogger(t))
	if err != nil {
		t.Fatal(err)
	}
	runs(t, f)
	return f
}

func runs(t testing.TB, f *Forwarder) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// pair makes a binding of two slots, by its number.
func pair(n byte, one, two [32]byte) relay.Binding {
	leg := func(i byte, key [32]byte) relay.Leg {
		return relay.Leg{Node: topology.NodeID{n, i}, Key: key, Scout: scout.DeriveKey([32]byte{n, i}, nil)}
	}
	return relay.Binding{ID: relay.ID{n}, Legs: [2]relay.Leg{leg(0, one), leg(1, two)}, Expires: time.Now().Add(time.Hour)}
}

func bind(t testing.TB, f *Forwarder, b relay.Binding) relay.Binding {
	t.Helper()
	if err := f.Bind(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// event waits for the next event.
func event(t testing.TB, f *Forwarder) Event {
	t.Helper()
	select {
	case e, ok := <-f.Events():
		if !ok {
			t.Fatal("the events have ended")
		}
		return e
	case <-time.After(patience):
		t.Fatal("no event")
		return nil
	}
}

// end is a plain UDP socket in the place of a WireGuard slot.
type end struct {
	t     testing.TB
	conn  *net.UDPConn
	relay netip.AddrPort
	tx    uint64
}

// endAt opens a socket on an address, which talks to a forwarder on the same one.
func endAt(t testing.TB, f *Forwarder, address string) *end {
	t.Helper()
	ip := netip.MustParseAddr(address)
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &end{t: t, conn: conn, relay: netip.AddrPortFrom(ip, f.Port())}
}

func (e *end) addr() netip.AddrPort {
	a := e.conn.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (e *end) send(p []byte) {
	e.t.Helper()
	if _, err := e.conn.WriteToUDPAddrPort(p, e.relay); err != nil {
		e.t.Fatal(err)
	}
}

// receive waits for a datagram from the relay.
func (e *end) receive() []byte {
	e.t.Helper()
	if err := e.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		e.t.Fatal(err)
	}
	b := make([]byte, 65536)
	n, from, err := e.conn.ReadFromUDPAddrPort(b)
	if err != nil {
		e.t.Fatal(err)
	}
	if from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()); from != e.relay {
		e.t.Fatalf("%d bytes from %s, want the relay %s", n, from, e.relay)
	}
	return b[:n]
}

// wants waits for one datagram, byte by byte.
func (e *end) wants(p []byte) {
	e.t.Helper()
	if got := e.receive(); !bytes.Equal(got, p) {
		e.t.Fatalf("got %d bytes %.20x, want %d bytes %.20x", len(got), got, len(p), p)
	}
}

// asked waits for the relay's question and answers it.
func (e *end) asked(l relay.Leg) {
	e.t.Helper()
	question, err := scout.Decode(l.Scout, e.receive())
	if err != nil || question.Kind != scout.Request {
		e.t.Fatalf("asked %+v, %v", question, err)
	}
	e.send(scout.Encode(l.Scout, question.Answered(e.relay)))
}

// register registers a leg at an address that is new, and returns the answer.
func (e *end) register(f *Forwarder, l relay.Leg) scout.Message {
	e.t.Helper()
	e.tx = max(e.tx+1, uint64(time.Now().UnixNano()))
	e.send(scout.Encode(l.Scout, scout.Message{Kind: scout.Request, Tx: e.tx, Counter: e.tx}))
	e.asked(l)
	m, err := scout.Decode(l.Scout, e.receive())
	if err != nil || m.Tx != e.tx || m.Observed != e.addr() {
		e.t.Fatalf("answer %+v, %v", m, err)
	}
	if r, ok := event(e.t, f).(Registered); !ok || r.Addr != e.addr() || r.Observed != e.relay {
		e.t.Fatalf("event %+v", r)
	}
	return m
}

// handshake opens a session: the index of the first is 1, that of the second 2.
func handshake(a, b *end) {
	p := make([]byte, 148)
	p[0], p[4] = 1, 1
	a.send(putMAC1(p, keyB))
	b.wants(p)
	p = make([]byte, 92)
	p[0], p[4], p[8] = 2, 2, 1
	b.send(putMAC1(p, keyA))
	a.wants(p)
}

func putMAC1(p []byte, receiver [32]byte) []byte {
	key := blake2s.Sum256([]byte("mac1----" + string(receiver[:])))
	h, _ := blake2s.New128(key[:])
	h.Write(p[:len(p)-32])
	copy(p[len(p)-32:], h.Sum(nil))
	return p
}

// data makes a data message with a number in it.
func data(receiver uint32, size int, number uint64) []byte {
	p := make([]byte, size)
	p[0] = 4
	binary.LittleEndian.PutUint32(p[4:], receiver)
	binary.LittleEndian.PutUint64(p[8:], number)
	for i := 16; i < size; i++ {
		p[i] = byte(i) + byte(number)
	}
	return p
}

// headers reads the TTL and the TOS that datagrams arrive with.
func (e *end) headers(n int) (ttl, tos []int) {
	e.t.Helper()
	if err := e.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		e.t.Fatal(err)
	}
	b := make([]byte, 2048)
	if e.addr().Addr().Is6() {
		c := ipv6.NewPacketConn(e.conn)
		if err := c.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagTrafficClass, true); err != nil {
			e.t.Fatal(err)
		}
		for range n {
			_, m, _, err := c.ReadFrom(b)
			if err != nil {
				e.t.Fatal(err)
			}
			ttl, tos = append(ttl, m.HopLimit), append(tos, m.TrafficClass)
		}
		return ttl, tos
	}
	c := ipv4.NewPacketConn(e.conn)
	if err := c.SetControlMessage(ipv4.FlagTTL, true); err != nil {
		e.t.Fatal(err)
	}
	for range n {
		_, m, _, err := c.ReadFrom(b)
		if err != nil {
			e.t.Fatal(err)
		}
		ttl = append(ttl, m.TTL)
	}
	return ttl, tos
}

// answered is an end's answer to a question.
func answered(question []byte, l relay.Leg) []byte {
	m, err := scout.Decode(l.Scout, question)
	if err != nil {
		return nil
	}
	return scout.Encode(l.Scout, m.Answered(netip.AddrPort{}))
}
