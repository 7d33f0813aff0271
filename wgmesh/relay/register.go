package relay

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weavewg/weavewg/wgmesh/scout"
)

// Registered says that a leg proved where it is.
type Registered struct {
	ID       ID
	Leg      int
	Addr     netip.AddrPort
	First    bool           // it was nowhere before
	Moved    bool           // it was elsewhere before
	Answer   bool           // it answered a registration of ours
	Observed netip.AddrPort // in an answer: where that leg sees us
}

// Hear takes a scout. A request registers the leg whose key it is made with at the address that it came from, and is
// answered; so does the answer to a request of our own (see Register). Whatever is wrong or old is not answered: r is nil.
func (t *Table) Hear(now time.Time, from netip.AddrPort, datagram []byte) (answer []byte, r *Registered) {
	tag, ok := scout.Peek(datagram)
	if !ok {
		return nil, nil
	}
	s, ok := t.tags[tag]
	if !ok {
		return nil, nil
	}
	key := s.b.Legs[s.leg].Scout
	m, err := scout.Decode(key, datagram)
	if err != nil {
		return nil, nil
	}
	from = plain(from)
	if !usable(from) || from == s.b.Legs[1-s.leg].Addr {
		return nil, nil
	}
	l := &s.b.legs[s.leg]
	switch m.Kind {
	case scout.Request:
		// A request of our own that somebody sends back to us would register him.
		if m.Counter <= l.counter || l.sent(m.Tx) != nil || !l.scouts.take(now, 1, scoutRate, scoutBurst) {
			return nil, nil
		}
		l.counter = m.Counter
		return scout.Encode(key, m.Answered(from)), t.register(now, s, from)
	case scout.Answer:
		a := l.sent(m.Tx)
		if a == nil || a.answered || now.Sub(a.at) >= asksLast {
			return nil, nil
		}
		a.answered = true
		r = t.register(now, s, from)
		r.Answer, r.Observed = true, m.Observed
		return nil, r
	}
	return nil, nil
}

// sent returns the registration that we asked for with a number.
func (l *leg) sent(tx uint64) *ask {
	for i := range l.asked {
		if a := &l.asked[i]; i < l.asks && a.tx == tx {
			return a
		}
	}
	return nil
}

// register notes where a leg is; its flows follow it.
func (t *Table) register(now time.Time, s side, at netip.AddrPort) *Registered {
	old := s.addr()
	s.b.legs[s.leg].confirmed = now
	r := &Registered{ID: s.b.ID, Leg: s.leg, Addr: at, First: !old.IsValid(), Moved: old.IsValid() && old != at}
	if old == at {
		return r
	}
	flows := slices.Clone(s.b.flows)
	for _, f := range flows {
		t.unhook(f)
	}
	if old.IsValid() {
		t.leave(s)
	}
	s.b.Legs[s.leg].Addr = at
	t.arrive(s)
	for _, f := range flows {
		if !t.hook(now, f) {
			t.drop(f)
		}
	}
	return r
}

// Register returns a request to send from the relay's port to where a leg is believed to be: a neighbouring relay, or an end
// whose address changed. Its answer registers the leg. The number must be random. It returns nil for a binding that is not
// there.
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
