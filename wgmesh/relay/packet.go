package relay

import (
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/wgmesh/scout"
)

// Packet decides where a packet goes that came from an address: to is valid if it is forwarded.
func (t *Table) Packet(now time.Time, from netip.AddrPort, p []byte) (to netip.AddrPort, why Verdict) {
	kind := kindOf(p)
	switch kind {
	case transport:
		r := t.routes[keyOf(from, receiverOf(kind, p))]
		if r == nil || !r.flow.alive(now) {
			why = t.unknown(from)
			break
		}
		if !r.flow.open {
			why = NotOpen
			break
		}
		to = r.pass(now, len(p))
		r.flow.last = now
	case initiation:
		to, why = t.start(now, plain(from), p)
	case response:
		to, why = t.answer(now, plain(from), p)
	case cookie:
		// The receiver of an initiation or of a response that is under load; it changes nothing.
		if r := t.routes[keyOf(from, receiverOf(kind, p))]; r != nil && r.flow.alive(now) {
			to = r.pass(now, len(p))
		} else {
			why = t.unknown(from)
		}
	default:
		why = Garbage
	}
	c := &t.counters[why]
	c.Packets++
	c.Bytes += uint64(len(p))
	return to, why
}

// pass counts a packet that goes along a route.
func (r *route) pass(now time.Time, bytes int) netip.AddrPort {
	b := r.flow.b
	b.last = now
	c := &b.sent[r.leg]
	c.Packets++
	c.Bytes += uint64(bytes)
	return r.to
}

// unknown says why a packet has no route.
func (t *Table) unknown(from netip.AddrPort) Verdict {
	if t.places[plain(from)] == nil {
		return Unregistered
	}
	return NoFlow
}

// start handles an initiation: it makes known who may answer it.
func (t *Table) start(now time.Time, from netip.AddrPort, p []byte) (to netip.AddrPort, why Verdict) {
	at := t.places[from]
	if at == nil {
		return to, Unregistered
	}
	if rate := triesRate(at.legs); !at.tries.take(now, len(at.groups), rate, tryBurst*rate) {
		return to, Limited
	}
	sides := at.meant(p)
	if len(sides) == 0 {
		return to, NoBinding
	}
	s, f := t.choose(now, sides, senderOf(p))
	if s.b == nil {
		return to, Nowhere
	}
	if !s.b.legs[s.leg].starts.take(now, 1, startRate, startBurst) {
		return to, Limited
	}
	if f == nil {
		f = &flow{b: s.b, from: s.leg}
		f.index[s.leg] = senderOf(p)
		if f.last = now; !t.hook(now, f) {
			return to, Taken
		}
		s.b.flows = append(s.b.flows, f)
		t.makeRoom(f, maxPending)
	} else if !f.open {
		f.last = now
	}
	s.b.tried = now
	// The route is that of the answers: it leads back.
	r := route{flow: f, leg: s.leg, to: s.b.Legs[1-s.leg].Addr}
	return r.pass(now, len(p)), Forwarded
}

// choose returns the leg that an initiation comes from, and its flow if it was seen before. Where a neighbouring relay
// sends us several pairs with one receiver, only the answer will tell which of them it is: the one that waits longest has a
// turn, and all of them lead to the receiver.
func (t *Table) choose(now time.Time, sides []side, index uint32) (chosen side, seen *flow) {
	for _, s := range sides {
		other := s.b.Legs[1-s.leg].Addr
		if !other.IsValid() {
			continue
		}
		if r := t.routes[keyOf(other, index)]; r != nil && r.flow.b == s.b && r.flow.from == s.leg && r.flow.alive(now) {
			return s, r.flow
		}
		if chosen.b == nil || s.b.tried.Before(chosen.b.tried) {
			chosen = s
		}
	}
	return chosen, nil
}

// answer handles a response: it opens both directions.
func (t *Table) answer(now time.Time, from netip.AddrPort, p []byte) (to netip.AddrPort, why Verdict) {
	r := t.routes[keyOf(from, receiverOf(response, p))]
	if r == nil || !r.flow.alive(now) {
		return to, t.unknown(from)
	}
	f := r.flow
	if f.open {
		return to, Answered
	}
	if s := t.initiator(from, r.to, p, f.b); s.b != nil {
		t.give(f, s)
	}
	f.index[1-f.from], f.open, f.last = senderOf(p), true, now
	if !t.hook(now, f) {
		t.drop(f)
		return to, Taken
	}
	t.makeRoom(f, t.limits.Flows)
	return f.routes[1-f.from].pass(now, len(p)), Forwarded
}

// initiator returns the leg, of another binding than the one that was chosen, which a response is meant for: its mac1 names
// the slot that began, and both legs are at the same addresses. There is none if the chosen one fits, or nothing does.
func (t *Table) initiator(from, to netip.AddrPort, p []byte, chosen *binding) (found side) {
	at := t.places[from]
	if at == nil || at.legs == 1 {
		return found
	}
	for _, s := range at.meant(p) {
		other := side{s.b, 1 - s.leg}
		switch {
		case other.addr() != to:
		case s.b == chosen:
			return side{}
		case found.b == nil:
			found = other
		}
	}
	return found
}

// Stray says which leg seems to have moved to an address: a packet without a route came from there, with an index of that
// leg's session. Ask it to register (see Register) where the packet came from: the answer proves it. Packets that are
// shorter than the question are not worth it, and not too many others are.
func (t *Table) Stray(now time.Time, from netip.AddrPort, p []byte) (id ID, leg int, ok bool) {
	if len(p) < scout.Length || kindOf(p) != transport || !usable(plain(from)) {
		return id, 0, false
	}
	r := t.strays[receiverOf(transport, p)]
	if r == nil || !r.flow.open || !r.flow.alive(now) {
		return id, 0, false
	}
	b := r.flow.b
	if b.Legs[r.leg].Addr == plain(from) || !b.legs[r.leg].strays.take(now, 1, strayRate, strayBurst) {
		return id, 0, false
	}
	return b.ID, r.leg, true
}
