package relay

import (
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/wgmesh/scout"
)

// Packet decides where a packet goes that came from an address: to is valid if it is forwarded.
func (t *Table) Packet(now time.Time, from netip.AddrPort, p []byte) (to netip.AddrPort, why Verdict) {
	return t.Run(now, from, p, 1, len(p))
}

// Run decides about n packets that came one after another, of so many bytes in all. All are data with the index of the first,
// which is p; of other messages there is one.
func (t *Table) Run(now time.Time, from netip.AddrPort, p []byte, n, bytes int) (to netip.AddrPort, why Verdict) {
	more := Traffic{Packets: uint64(n), Bytes: uint64(bytes)}
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
		if !r.flow.b.legs[1-r.leg].proven {
			why = Unproven
			break
		}
		to = r.pass(now, more)
		r.flow.last = now
	case initiation:
		to, why = t.start(now, plain(from), p)
	case response:
		to, why = t.answer(now, plain(from), p)
	case cookie:
		// The receiver of an initiation or of a response is under load. It says so once to each.
		switch r := t.routes[keyOf(from, receiverOf(kind, p))]; {
		case r == nil || !r.flow.alive(now):
			why = t.unknown(from)
		case r.flow.cookie[r.leg]:
			why = Repeated
		default:
			r.flow.cookie[r.leg] = true
			to = r.pass(now, more)
		}
	default:
		why = Garbage
	}
	t.counters[why].add(more)
	return to, why
}

// pass counts packets that go along a route.
func (r *route) pass(now time.Time, more Traffic) netip.AddrPort {
	b := r.flow.b
	b.last = now
	b.sent[r.leg].add(more)
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
	if rate, burst := tries(at.legs); !at.tries.take(now, len(at.groups), rate, burst) {
		return to, Limited
	}
	sides := at.meant(p)
	if len(sides) == 0 {
		return to, NoBinding
	}
	s, why := t.choose(now, sides, senderOf(p))
	if why != Forwarded {
		return to, why
	}
	if !s.b.legs[s.leg].starts.take(now, 1, startRate, startBurst) {
		return to, Limited
	}
	f := &flow{b: s.b, from: s.leg, last: now}
	f.index[s.leg] = senderOf(p)
	if !t.hook(now, f) {
		return to, Taken
	}
	s.b.flows = append(s.b.flows, f)
	t.makeRoom(f, maxPending)
	s.b.tried = now
	// The route is that of the answers: it leads back.
	r := route{flow: f, leg: s.leg, to: s.b.Legs[1-s.leg].Addr}
	return r.pass(now, one(p)), Forwarded
}

// choose returns the leg that an initiation comes from. Where a neighbouring relay sends us several pairs with one receiver,
// only the answer will tell which of them it is: the one that waits longest has a turn, and all of them lead to the receiver.
// WireGuard never sends an initiation twice: what comes again came round in a loop, or from somebody who wants one.
func (t *Table) choose(now time.Time, sides []side, index uint32) (chosen side, why Verdict) {
	for _, s := range sides {
		other := s.b.Legs[1-s.leg].Addr
		if !other.IsValid() {
			continue
		}
		if r := t.routes[keyOf(other, index)]; r != nil && r.flow.b == s.b && r.flow.from == s.leg && r.flow.alive(now) {
			return side{}, Repeated
		}
		if chosen.b == nil || s.b.tried.Before(chosen.b.tried) {
			chosen = s
		}
	}
	if chosen.b == nil {
		return chosen, Nowhere
	}
	return chosen, Forwarded
}

// answer handles a response: it opens both directions.
func (t *Table) answer(now time.Time, from netip.AddrPort, p []byte) (to netip.AddrPort, why Verdict) {
	r := t.routes[keyOf(from, receiverOf(response, p))]
	if r == nil || !r.flow.alive(now) {
		return to, t.unknown(from)
	}
	f := r.flow
	if f.open {
		return to, Repeated
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
	return f.routes[1-f.from].pass(now, one(p)), Forwarded
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

// Ask says which leg to ask, and where, to register (see Register), after a data packet that was dropped: because the leg
// that it goes to is unproven, or because it has no route but the index of a session, whose leg then seems to have moved to
// where it came from. Packets that are shorter than the question are not worth it, and not too many others are.
func (t *Table) Ask(now time.Time, from netip.AddrPort, p []byte) (id ID, leg int, to netip.AddrPort, ok bool) {
	if len(p) < scout.Length || kindOf(p) != transport {
		return id, 0, to, false
	}
	index := receiverOf(transport, p)
	r, to := t.strays[index], plain(from)
	if r != nil {
		leg = r.leg
	}
	if known := t.routes[keyOf(from, index)]; known != nil {
		r, leg, to = known, 1-known.leg, known.to
	}
	if r == nil || !r.flow.open || !r.flow.alive(now) || !usable(to) {
		return id, 0, to, false
	}
	b := r.flow.b
	l := &b.legs[leg]
	if l.proven && b.Legs[leg].Addr == to || to == b.Legs[1-leg].Addr || !l.questions.take(now, 1, askRate, askBurst) {
		return id, 0, to, false
	}
	return b.ID, leg, to, true
}
