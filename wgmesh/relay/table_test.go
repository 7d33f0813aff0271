package relay

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// bound makes a table with these bindings.
func bound(t *testing.T, l Limits, all ...Binding) *Table {
	t.Helper()
	table := NewTable(l)
	for _, b := range all {
		if err := table.Bind(start, b); err != nil {
			t.Fatal(err)
		}
		for leg, l := range b.Legs {
			if l.Addr.IsValid() && prove(table, start, b.ID, leg, l.Addr) == nil {
				t.Fatal("not proven")
			}
		}
	}
	t.Cleanup(func() {
		if err := consistent(table); err != nil {
			t.Error(err)
		}
	})
	return table
}

// passes wants a packet to go to an address.
func passes(t *testing.T, table *Table, now time.Time, from netip.AddrPort, p []byte, to netip.AddrPort) {
	t.Helper()
	if got, why := table.Packet(now, from, p); got != to || why != Forwarded {
		t.Errorf("type %d from %s goes to %v (%s), want %s", p[0], from, got, why, to)
	}
}

// stops wants a packet to be dropped.
func stops(t *testing.T, table *Table, now time.Time, from netip.AddrPort, p []byte, want Verdict) {
	t.Helper()
	if got, why := table.Packet(now, from, p); got.IsValid() || why != want {
		t.Errorf("%d bytes from %s: to %v (%s), want %s", len(p), from, got, why, want)
	}
}

// handshake opens a flow from alpha (key A, index 1) to beta (key B, index 2).
func handshake(t *testing.T, table *Table, now time.Time) {
	t.Helper()
	passes(t, table, now, alpha, starts(keyB, 1), beta)
	passes(t, table, now, beta, answers(keyA, 2, 1), alpha)
}

func TestSession(t *testing.T) {
	table := bound(t, Limits{}, at(pair(1, keyA, keyB), alpha, beta))
	stops(t, table, start, alpha, carries(2, 32), NoFlow)
	passes(t, table, start, alpha, starts(keyB, 1), beta)
	stops(t, table, start, alpha, carries(2, 32), NoFlow)
	stops(t, table, start, beta, carries(1, 32), NotOpen)
	stops(t, table, start, beta, answers(keyA, 2, 9), NoFlow)
	stops(t, table, start, alpha, answers(keyA, 2, 1), NoFlow)
	stops(t, table, start, stray, answers(keyA, 2, 1), Unregistered)
	passes(t, table, start, beta, cookies(1), alpha)
	stops(t, table, start, alpha, cookies(1), NoFlow)
	passes(t, table, start, beta, answers(keyA, 2, 1), alpha)
	stops(t, table, start, beta, answers(keyA, 3, 1), Repeated)
	stops(t, table, start, alpha, starts(keyB, 1), Repeated)
	stops(t, table, start, beta, cookies(1), Repeated)
	passes(t, table, start, alpha, cookies(2), beta)
	stops(t, table, start, alpha, cookies(2), Repeated)
	passes(t, table, start, alpha, carries(2, 32), beta)
	passes(t, table, start, beta, carries(1, 1500), alpha)
	stops(t, table, start, alpha, carries(1, 32), NoFlow)
	stops(t, table, start, beta, carries(2, 32), NoFlow)
	stops(t, table, start, stray, carries(2, 32), Unregistered)

	s := table.Bindings()[0]
	if s.Flows != 1 || s.Sent != [2]Traffic{{3, 148 + 64 + 32}, {3, 64 + 92 + 1500}} || !s.Last.Equal(start) {
		t.Errorf("status: %+v", s)
	}
	if c := table.Counters(); c[Forwarded].Packets != 6 || c[NotOpen] != (Traffic{1, 32}) {
		t.Errorf("counters: %v", c)
	}
}

func TestOnlyInitiationsForTheOtherSlotOfABinding(t *testing.T) {
	table := bound(t, Limits{}, at(pair(1, keyA, keyB), alpha, beta), pair(2, keyA, keyC))
	stops(t, table, start, stray, starts(keyB, 1), Unregistered)
	stops(t, table, start, alpha, starts(keyA, 1), NoBinding)
	stops(t, table, start, alpha, starts(keyC, 1), NoBinding)
	table.Hear(start, alpha, request(pair(2, keyA, keyC).Legs[0].Scout, 1, 1))
	stops(t, table, start, alpha, starts(keyC, 1), Nowhere)
	bad := starts(keyB, 1)
	bad[20] ^= 1
	stops(t, table, start, alpha, bad, NoBinding)
}

func TestGarbage(t *testing.T) {
	table := bound(t, Limits{}, at(pair(1, keyA, keyB), alpha, beta))
	handshake(t, table, start)
	for _, p := range [][]byte{
		nil, {4}, carries(2, 31), starts(keyB, 7)[:147], append(starts(keyB, 7), 0), answers(keyA, 2, 1)[:91],
		append(cookies(1), 0), {1: 4, 40: 0}, {0: 4, 1: 1, 2: 0, 40: 0}, {0: 5, 40: 0}, request(scout.Key{}, 1, 1),
	} {
		stops(t, table, start, alpha, p, Garbage)
	}
}

func TestMappedAddressesAreTheSame(t *testing.T) {
	mapped := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	table := bound(t, Limits{}, at(pair(1, keyA, keyB), mapped(alpha), beta))
	passes(t, table, start, mapped(alpha), starts(keyB, 1), beta)
	passes(t, table, start, mapped(beta), answers(keyA, 2, 1), alpha)
	passes(t, table, start, mapped(alpha), carries(2, 32), beta)
	passes(t, table, start, beta, carries(1, 32), alpha)
}

func TestFlowsEnd(t *testing.T) {
	table := bound(t, Limits{}, at(pair(1, keyA, keyB), alpha, beta))
	passes(t, table, start, alpha, starts(keyB, 1), beta)
	stops(t, table, start.Add(PendingLifetime), beta, answers(keyA, 2, 1), NoFlow)
	handshake(t, table, start.Add(PendingLifetime))
	now := start.Add(FlowLifetime + PendingLifetime - 1)
	passes(t, table, now, alpha, carries(2, 32), beta)
	now = now.Add(FlowLifetime - 1)
	passes(t, table, now, beta, carries(1, 32), alpha)
	stops(t, table, now.Add(FlowLifetime), beta, carries(1, 32), NoFlow)
	if ids := table.Expire(now.Add(FlowLifetime)); len(ids) != 0 || table.Bindings()[0].Flows != 0 {
		t.Errorf("expired %v, left %+v", ids, table.Bindings())
	}
}

func TestLongestUnusedFlowGoes(t *testing.T) {
	table := bound(t, Limits{Flows: 2}, at(pair(1, keyA, keyB), alpha, beta))
	now := start
	for i := range uint32(3) {
		passes(t, table, now, alpha, starts(keyB, 10+i), beta)
		passes(t, table, now, beta, answers(keyA, 20+i, 10+i), alpha)
		now = now.Add(time.Second)
		if i == 1 {
			passes(t, table, now, alpha, carries(20, 32), beta)
		}
	}
	passes(t, table, now, alpha, carries(20, 32), beta)
	stops(t, table, now, alpha, carries(21, 32), NoFlow)
	passes(t, table, now, alpha, carries(22, 32), beta)
	for i := range uint32(maxPending + 1) { // a flood of initiations does not end a session
		passes(t, table, now, alpha, starts(keyB, 100+i), beta)
		now = now.Add(500 * time.Millisecond)
	}
	stops(t, table, now, beta, answers(keyA, 5, 100), NoFlow)
	passes(t, table, now, beta, carries(10, 32), alpha)
}

func TestInitiationsAreLimited(t *testing.T) {
	table := bound(t, Limits{}, at(pair(1, keyA, keyB), alpha, beta))
	for i := range uint32(startBurst) {
		passes(t, table, start, alpha, starts(keyB, i), beta)
	}
	stops(t, table, start, alpha, starts(keyB, 100), Limited)
	passes(t, table, start, beta, starts(keyA, 1), alpha)
	passes(t, table, start.Add(time.Second), alpha, starts(keyB, 101), beta)

	table = bound(t, Limits{}, at(pair(1, keyA, keyB), alpha, beta))
	bad := starts(keyC, 1)
	_, burst := tries(1)
	table.places[alpha].tries = bucket{used: burst - 1, at: start}
	stops(t, table, start, alpha, bad, NoBinding)
	stops(t, table, start, alpha, bad, Limited)
	stops(t, table, start, alpha, starts(keyB, 200), Limited)
	stops(t, table, start.Add(time.Second), alpha, bad, NoBinding)
}

// Between two relays many pairs use the same two addresses.
func TestPairsShareAddresses(t *testing.T) {
	table := bound(t, Limits{}, at(pair(1, keyA, keyB), alpha, beta), at(pair(2, keyC, [32]byte{'d'}), alpha, beta))
	handshake(t, table, start)
	passes(t, table, start, alpha, starts([32]byte{'d'}, 5), beta)
	passes(t, table, start, beta, answers(keyC, 6, 5), alpha)
	passes(t, table, start, alpha, carries(6, 32), beta)
	passes(t, table, start, alpha, carries(2, 32), beta)

	// An index that the other pair uses is refused, and nothing changes.
	passes(t, table, start, alpha, starts([32]byte{'d'}, 7), beta)
	stops(t, table, start, beta, answers(keyC, 2, 7), Taken)
	stops(t, table, start, alpha, starts([32]byte{'d'}, 1), Taken)
	passes(t, table, start, alpha, carries(2, 32), beta)
	table.Unbind(ID{1})
	stops(t, table, start, alpha, carries(2, 32), NoFlow)
	passes(t, table, start, alpha, carries(6, 32), beta)
	passes(t, table, start, alpha, starts([32]byte{'d'}, 1), beta)
}

// Two senders behind one relay reach one receiver: the answer tells whose session it is.
func TestSendersBehindOneRelay(t *testing.T) {
	swapped := pair(2, keyB, keyC)
	table := bound(t, Limits{}, at(pair(1, keyA, keyB), gamma, beta), at(swapped, beta, gamma))
	flows := func() (n [2]int) {
		for i, s := range table.Bindings() {
			n[i] = s.Flows
		}
		return n
	}
	passes(t, table, start, gamma, starts(keyB, 1), beta)
	passes(t, table, start, beta, answers(keyC, 2, 1), gamma)
	if n := flows(); n != [2]int{0, 1} {
		t.Errorf("a session of the second pair: %v", n)
	}
	passes(t, table, start, gamma, carries(2, 32), beta)
	passes(t, table, start, beta, carries(1, 32), gamma)
	passes(t, table, start, gamma, starts(keyB, 3), beta)
	passes(t, table, start, beta, answers(keyA, 4, 3), gamma)
	if n := flows(); n != [2]int{1, 1} {
		t.Errorf("one session each: %v", n)
	}
	passes(t, table, start, gamma, carries(4, 32), beta)
	table.Unbind(ID{1})
	stops(t, table, start, gamma, carries(4, 32), NoFlow)
	passes(t, table, start, gamma, carries(2, 32), beta)
}

// If they go different ways from here, each initiation takes one of them, in turn.
func TestTwoWaysToOneReceiver(t *testing.T) {
	table := bound(t, Limits{}, at(pair(1, keyA, keyB), gamma, alpha), at(pair(2, keyC, keyB), gamma, beta))
	passes(t, table, start, gamma, starts(keyB, 1), alpha)
	passes(t, table, start.Add(1), gamma, starts(keyB, 2), beta)
	passes(t, table, start.Add(2), gamma, starts(keyB, 3), alpha)
	stops(t, table, start.Add(3), gamma, starts(keyB, 1), Repeated)
	passes(t, table, start.Add(4), beta, answers(keyA, 9, 2), gamma)
	passes(t, table, start.Add(4), gamma, carries(9, 32), beta)
	passes(t, table, start.Add(4), beta, carries(2, 32), gamma)
}

func TestIndexChosenAgain(t *testing.T) {
	table := bound(t, Limits{}, at(pair(1, keyA, keyB), alpha, beta))
	handshake(t, table, start)
	passes(t, table, start, beta, starts(keyA, 2), alpha) // beta forgot its session and starts with the same index
	stops(t, table, start, alpha, carries(2, 32), NotOpen)
	passes(t, table, start, alpha, answers(keyB, 1, 2), beta)
	passes(t, table, start, alpha, carries(2, 32), beta)
	passes(t, table, start, beta, carries(1, 32), alpha)
	passes(t, table, start, alpha, starts(keyB, 7), beta)
	passes(t, table, start, beta, answers(keyA, 2, 7), alpha) // and again, in an answer
	stops(t, table, start, beta, carries(1, 32), NoFlow)
	passes(t, table, start, beta, carries(7, 32), alpha)
}

func TestBindRefuses(t *testing.T) {
	table := bound(t, Limits{Bindings: 3, PerOwner: 2}, at(pair(1, keyA, keyB), alpha, beta))
	refused := func(b Binding, want string) {
		t.Helper()
		if err := table.Bind(start, b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	other := pair(1, keyA, keyC)
	refused(other, "another pair")
	other.ID = ID{9}
	refused(other, "registration key")
	refused(pair(2, keyA, keyA), "one WireGuard key")
	refused(at(pair(2, keyA, keyB), alpha, alpha), "one address")
	other = pair(2, keyA, keyB)
	other.Legs[1].Scout = other.Legs[0].Scout
	refused(other, "registration key")
	other = pair(2, keyA, keyB)
	other.Legs[1].Node = other.Legs[0].Node
	refused(other, "one neighbour")
	other = pair(2, keyA, keyB)
	other.Expires = start
	refused(other, "expired")

	if err := table.Bind(start, pair(2, keyA, keyC)); err != nil {
		t.Error(err)
	}
	refused(pair(3, keyA, keyC), "quota of 6f000000 is used up: 2")
	other = pair(3, keyA, keyC)
	other.Owner = topology.NodeID{'x'}
	if err := table.Bind(start, other); err != nil {
		t.Error(err)
	}
	other = pair(4, keyA, keyC)
	other.Owner = topology.NodeID{'y'}
	refused(other, "full: it carries 3")
	table.Unbind(ID{1})
	table.Unbind(ID{1})
	if err := table.Bind(start, other); err != nil {
		t.Error(err)
	}
}

func TestBindingsExpireUnlessRefreshed(t *testing.T) {
	one, two := at(pair(1, keyA, keyB), alpha, beta), pair(2, keyA, keyB)
	one.Expires, two.Expires = start.Add(time.Minute), start.Add(time.Minute)
	table := bound(t, Limits{}, one, two)
	handshake(t, table, start)
	again := pair(1, keyA, keyB)
	again.Expires = start.Add(2 * time.Minute)
	if err := table.Bind(start, again); err != nil {
		t.Fatal(err)
	}
	if got := table.Expire(start.Add(time.Minute)); !slices.Equal(got, []ID{{2}}) {
		t.Errorf("expired %v", got)
	}
	passes(t, table, start.Add(time.Minute), alpha, carries(2, 32), beta)
	if got := table.Expire(start.Add(2 * time.Minute)); !slices.Equal(got, []ID{{1}}) {
		t.Errorf("expired %v", got)
	}
	stops(t, table, start.Add(2*time.Minute), alpha, carries(2, 32), Unregistered)
	if len(table.routes)+len(table.places)+len(table.strays)+len(table.tags)+len(table.owners) != 0 {
		t.Errorf("left: %+v", table)
	}
}
