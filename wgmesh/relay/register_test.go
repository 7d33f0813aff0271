package relay

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weavewg/weavewg/wgmesh/scout"
)

// deaf wants a scout to be ignored.
func deaf(t *testing.T, table *Table, now time.Time, from netip.AddrPort, datagram []byte) {
	t.Helper()
	if answer, r := table.Hear(now, from, datagram); answer != nil || r != nil {
		t.Errorf("heard %+v and answered %x", r, answer)
	}
}

// asked answers a question of ours, as an end does.
func asked(t *testing.T, table *Table, now time.Time, b Binding, leg int, tx uint64) []byte {
	t.Helper()
	m, err := scout.Decode(b.Legs[leg].Scout, table.Register(now, b.ID, leg, tx))
	if err != nil {
		t.Fatal(err)
	}
	return scout.Encode(b.Legs[leg].Scout, m.Answered(gamma))
}

func TestRegistration(t *testing.T) {
	b := pair(1, keyA, keyB)
	table := bound(t, Limits{}, b)
	key := b.Legs[0].Scout
	answer, r := table.Hear(start, alpha, scout.Encode(key, scout.Message{Kind: scout.Request, Size: 1400, Tx: 7, Counter: 5}))
	if want := (Registered{ID: ID{1}, Leg: 0, Addr: alpha, Ask: true}); answer != nil || r == nil || *r != want {
		t.Fatalf("registered: %x, %+v", answer, r)
	}
	if s := table.Bindings()[0]; s.Legs[0].Addr != alpha || !s.Heard[0].IsZero() {
		t.Errorf("status: %+v", s)
	}
	answer, r = table.Hear(start, alpha, asked(t, table, start, b, 0, 99))
	if want := (Registered{ID: ID{1}, Leg: 0, Addr: alpha, First: true, Observed: gamma}); r == nil || *r != want {
		t.Fatalf("proven: %+v", r)
	}
	m, err := scout.Decode(key, answer)
	want := scout.Message{Kind: scout.Answer, Size: 1400, Tag: key.Tag, Tx: 7, Counter: 5, Observed: alpha}
	if err != nil || m != want || len(answer) != scout.Length {
		t.Errorf("answer: %+v, %v, want %+v", m, err, want)
	}
	deaf(t, table, start, stray, request(key, 8, 5))
	deaf(t, table, start, stray, request(key, 8, 4))
	answer, r = table.Hear(start.Add(1), alpha, request(key, 8, 6))
	if m, err := scout.Decode(key, answer); err != nil || m.Tx != 8 || r == nil || r.Ask || r.First || r.Moved {
		t.Errorf("again: %+v, %+v, %v", r, m, err)
	}
	if s := table.Bindings()[0]; s.Legs[0].Addr != alpha || s.Legs[1].Addr.IsValid() || !s.Heard[0].Equal(start.Add(1)) || !s.Heard[1].IsZero() {
		t.Errorf("status: %+v", s)
	}
}

// Everybody can write any sender on a datagram: nobody gets data who did not ask for it.
func TestDataGoesOnlyToProvenLegs(t *testing.T) {
	b := at(pair(1, keyA, keyB), alpha, netip.AddrPort{})
	table := NewTable(Limits{})
	if err := table.Bind(start, b); err != nil {
		t.Fatal(err)
	}
	if _, r := table.Hear(start, beta, request(b.Legs[1].Scout, 1, 1)); r == nil || !r.Ask {
		t.Fatalf("heard %+v", r)
	}
	handshake(t, table, start)
	p := carries(1, 100)
	stops(t, table, start, beta, p, Unproven)
	stops(t, table, start, alpha, carries(2, 100), Unproven)
	if id, leg, to, ok := table.Ask(start, beta, p); id != b.ID || leg != 0 || to != alpha || !ok {
		t.Errorf("asks leg %d of %s at %s, %v", leg, id, to, ok)
	}
	if _, r := table.Hear(start, alpha, asked(t, table, start, b, 0, 5)); r == nil || !r.First {
		t.Fatalf("heard %+v", r)
	}
	passes(t, table, start, beta, p, alpha)
	stops(t, table, start, alpha, carries(2, 100), Unproven)

	// Once proven, it stays where it is until it proves to be elsewhere.
	if _, r := table.Hear(start, stray, request(b.Legs[0].Scout, 1, 1)); r == nil || !r.Ask || r.Addr != stray {
		t.Fatalf("heard %+v", r)
	}
	passes(t, table, start, beta, p, alpha)
	if _, r := table.Hear(start, gamma, asked(t, table, start, b, 0, 6)); r == nil || !r.Moved || r.First {
		t.Fatalf("heard %+v", r)
	}
	passes(t, table, start, beta, p, gamma)
}

func TestGarbageIsNotAnswered(t *testing.T) {
	b := at(pair(1, keyA, keyB), netip.AddrPort{}, beta)
	table := bound(t, Limits{}, b)
	key := b.Legs[0].Scout
	good := request(key, 1, 9)
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x10
		deaf(t, table, start, alpha, bad)
	}
	deaf(t, table, start, alpha, nil)
	deaf(t, table, start, alpha, request(scout.Key{}, 1, 1))
	deaf(t, table, start, beta, good) // where the other leg is
	for _, s := range []string{"0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "192.0.2.1:0", "[fe80::1%eth0]:1", "[fe80::1]:1", "[ff02::1]:1", "[::]:1"} {
		deaf(t, table, start, netip.MustParseAddrPort(s), good)
	}
	if _, r := table.Hear(start, alpha, good); r == nil {
		t.Error("the true one is not heard")
	}
}

func TestRegistrationsAreLimited(t *testing.T) {
	b := at(pair(1, keyA, keyB), alpha, netip.AddrPort{})
	table := bound(t, Limits{}, b)
	n := 0
	for i := range uint64(100) {
		if _, r := table.Hear(start, alpha, request(b.Legs[0].Scout, i, i+1)); r != nil {
			n++
		}
	}
	if n != scoutBurst {
		t.Errorf("%d at once", n)
	}
	if _, r := table.Hear(start.Add(time.Second), alpha, request(b.Legs[0].Scout, 200, 200)); r == nil {
		t.Error("not heard a second later")
	}
}

func TestRegisteringAtANeighbour(t *testing.T) {
	b := pair(1, keyA, keyB)
	here, there := bound(t, Limits{}, b), bound(t, Limits{}, b)
	ask := here.Register(start, ID{1}, 1, 77)
	answer, r := there.Hear(start, alpha, ask)
	if r == nil || !r.Ask || r.Leg != 1 || answer != nil {
		t.Fatalf("there: %x, %+v", answer, r)
	}
	deaf(t, here, start, stray, ask) // sent back to us
	answer, r = here.Hear(start, beta, there.Register(start, ID{1}, 1, 88))
	if r != nil || answer == nil {
		t.Fatalf("here: %x, %+v", answer, r)
	}
	answer, r = there.Hear(start, alpha, answer)
	if want := (Registered{ID: ID{1}, Leg: 1, Addr: alpha, First: true, Observed: beta}); r == nil || *r != want {
		t.Fatalf("there: %+v", r)
	}
	_, r = here.Hear(start, beta, answer)
	if want := (Registered{ID: ID{1}, Leg: 1, Addr: beta, First: true, Observed: alpha}); r == nil || *r != want {
		t.Fatalf("here: %+v", r)
	}
	deaf(t, here, start, stray, answer) // again
	late := asked(t, here, start, b, 1, 78)
	deaf(t, here, start.Add(asksLast), stray, late)
	deaf(t, here, start, stray, scout.Encode(b.Legs[1].Scout, scout.Message{Kind: scout.Answer, Tx: 99}))
	if here.Register(start, ID{9}, 0, 1) != nil || here.Register(start, ID{1}, 2, 1) != nil {
		t.Error("registers what is not there")
	}
}

func TestFlowsFollowTheLeg(t *testing.T) {
	b := pair(1, keyA, keyB)
	table := bound(t, Limits{}, at(b, alpha, beta), at(pair(2, keyC, [32]byte{'d'}), stray, beta))
	handshake(t, table, start)
	passes(t, table, start, beta, starts(keyA, 5), alpha) // pending, answered after the move
	if r := prove(table, start, ID{1}, 0, gamma); r == nil || !r.Moved || r.First {
		t.Fatalf("moved: %+v", r)
	}
	passes(t, table, start, gamma, carries(2, 32), beta)
	passes(t, table, start, beta, carries(1, 32), gamma)
	passes(t, table, start, gamma, answers(keyB, 6, 5), beta)
	passes(t, table, start, gamma, carries(5, 32), beta)
	stops(t, table, start, alpha, carries(2, 32), Unregistered)

	// Where it moves to, another pair uses an index already: that flow ends, the other does not.
	passes(t, table, start, stray, starts([32]byte{'d'}, 8), beta)
	passes(t, table, start, beta, answers(keyC, 2, 8), stray)
	if r := prove(table, start, ID{1}, 0, stray); r == nil {
		t.Fatal("not heard")
	}
	stops(t, table, start, beta, carries(1, 32), NoFlow)
	passes(t, table, start, beta, carries(8, 32), stray)
	passes(t, table, start, stray, carries(5, 32), beta)
}

// A NAT gives the leg another port: its next packet makes us ask there, and the answer moves the leg.
func TestLegThatMoves(t *testing.T) {
	b := at(pair(1, keyA, keyB), alpha, beta)
	table := bound(t, Limits{}, b)
	p := carries(2, 100)
	asks := func(now time.Time, from netip.AddrPort, p []byte) bool {
		id, leg, to, ok := table.Ask(now, from, p)
		return ok && id == ID{1} && leg == 0 && to == from
	}
	if asks(start, stray, p) {
		t.Error("asks before the handshake")
	}
	handshake(t, table, start)
	stops(t, table, start, stray, p, Unregistered)
	for what, no := range map[string]bool{
		"a short packet":            asks(start, stray, carries(2, scout.Length-1)),
		"an unknown index":          asks(start, stray, carries(9, 100)),
		"a packet that passes":      asks(start, alpha, p),
		"a handshake":               asks(start, stray, starts(keyB, 2)),
		"one from the other leg":    asks(start, beta, p),
		"one from no usable sender": asks(start, netip.MustParseAddrPort("[fe80::1%eth0]:1"), p),
	} {
		if no {
			t.Errorf("asks after %s", what)
		}
	}
	for range askBurst {
		if !asks(start, stray, p) {
			t.Fatal("does not ask")
		}
	}
	if asks(start, stray, p) {
		t.Error("asks as often as it is made to")
	}
	if _, r := table.Hear(start, gamma, asked(t, table, start, b, 0, 5)); r == nil || !r.Moved {
		t.Fatalf("heard %+v", r)
	}
	passes(t, table, start, gamma, p, beta)
}
