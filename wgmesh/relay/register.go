package relay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weavewg/weavewg/wgmesh/scout"
)

// Registered says that a leg proved where it is, or that it is to be asked to.
type Registered struct {
	ID       ID
	Leg      int
	Addr     netip.AddrPort
	Ask      bool           // nothing is proven yet: send there what Register returns
	First    bool           // it is proven for the first time
	Moved    bool           // it was elsewhere before
	Observed netip.AddrPort // if it answered a question of ours: where it sees us
}

// Hear takes a scout. A leg registers by a request, made with its key, and proves by its answer to a question of ours that
// it is where the request came from, since everybody can write any sender on an envelope. Handshakes go to a first address at
// once; data, and everything where it was elsewhere before, once it is proven. The first request is answered only then, since
// what we send is never longer than what came. Whatever is wrong or old is not answered. Without news, r is nil.
func (t *Table) Hear(now time.Time, from netip.AddrPort, datagram []byte) (answer []byte, r *Registered) {
	tag, ok := scout.Peek(datagram)
	if !ok {
		return nil, nil
	}
	s, ok := t.tags[tag]
	if !ok {
		return nil, nil
	}
	m, err := scout.Decode(s.b.Legs[s.leg].Scout, datagram)
	if err != nil {
		return nil, nil
	}
	from = plain(from)
	if !usable(from) || from == s.b.Legs[1-s.leg].Addr {
		return nil, nil
	}
	if m.Kind == scout.Answer {
		return t.proof(now, s, from, m)
	}
	return t.request(now, s, from, m)
}

// request handles a registration.
func (t *Table) request(now time.Time, s side, from netip.AddrPort, m scout.Message) (answer []byte, r *Registered) {
	l := &s.b.legs[s.leg]
	// A request of our own that somebody sends back to us would register him.
	if m.Counter <= l.counter || l.sent(m.Tx) != nil || !l.scouts.take(now, 1, scoutRate, scoutBurst) {
		return nil, nil
	}
	l.counter = m.Counter
	answer = scout.Encode(s.b.Legs[s.leg].Scout, m.Answered(from))
	if l.proven && s.addr() == from {
		l.heard = now
		return answer, &Registered{ID: s.b.ID, Leg: s.leg, Addr: from}
	}
	if !l.proven {
		t.move(now, s, from)
	}
	if l.waits(now) { // neighbours that ask each other must not both wait
		return answer, nil
	}
	l.owed = m
	return nil, &Registered{ID: s.b.ID, Leg: s.leg, Addr: from, Ask: true}
}

// waits says whether a question of ours may still be answered.
func (l *leg) waits(now time.Time) bool {
	for i := range min(l.asks, len(l.asked)) {
		if a := l.asked[i]; !a.answered && now.Sub(a.at) < asksLast {
			return true
		}
	}
	return false
}

// proof handles the answer to a question of ours.
func (t *Table) proof(now time.Time, s side, from netip.AddrPort, m scout.Message) (answer []byte, r *Registered) {
	l := &s.b.legs[s.leg]
	a := l.sent(m.Tx)
	if a == nil || a.answered || now.Sub(a.at) >= asksLast {
		return nil, nil
	}
	a.answered = true
	if l.owed.Kind != 0 {
		answer = scout.Encode(s.b.Legs[s.leg].Scout, l.owed.Answered(from))
		l.owed = scout.Message{}
	}
	r = &Registered{
		ID: s.b.ID, Leg: s.leg, Addr: from, Observed: m.Observed,
		First: l.heard.IsZero(), Moved: !l.heard.IsZero() && s.addr() != from,
	}
	t.move(now, s, from)
	l.proven, l.heard = true, now
	return answer, r
}

// sent returns the registration that we asked for with a number.
func (l *leg) sent(tx uint64) *ask {
	for i := range min(l.asks, len(l.asked)) {
		if a := &l.asked[i]; a.tx == tx {
			return a
		}
	}
	return nil
}

// move notes where a leg is; its flows follow it.
func (t *Table) move(now time.Time, s side, to netip.AddrPort) {
	old := s.addr()
	if old == to {
		return
	}
	flows := slices.Clone(s.b.flows)
	for _, f := range flows {
		t.unhook(f)
	}
	if old.IsValid() {
		t.leave(s)
	}
	s.b.Legs[s.leg].Addr = to
	t.arrive(s)
	for _, f := range flows {
		if !t.hook(now, f) {
			t.drop(f)
		}
	}
}

// Register returns a question to send from the relay's port to where a leg is believed to be: a neighbouring relay, or an
// end that registered or moved. Its answer proves the leg. The number must be random: who can guess it can lie about where he
// is. It returns nil for a binding that is not there.
func (t *Table) Register(now time.Time, id ID, leg int, tx uint64) (datagram []byte) {
	b := t.bindings[id]
	if b == nil || leg < 0 || leg > 1 {
		return nil
	}
	l := &b.legs[leg]
	l.asked[l.asks%len(l.asked)] = ask{tx: tx, at: now}
	l.asks++
	l.stamp = max(l.stamp+1, uint64(now.UnixNano()))
	return scout.Encode(b.Legs[leg].Scout, scout.Message{Kind: scout.Request, Tx: tx, Counter: l.stamp})
}
