package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// twin is the slow, plain version of Table: lists, searched from the front.
type twin struct {
	limits Limits
	bound  []*twinBinding
	placed []twinSide // registered legs, in the order in which they came to where they are
	flows  []*twinFlow
}

type twinBinding struct {
	Binding
	tried   time.Time
	starts  [2]bucket
	scouts  [2]bucket
	counter [2]uint64
	proven  [2]bool
}

type twinSide struct {
	b   *twinBinding
	leg int
}

func (s twinSide) addr() netip.AddrPort  { return s.b.Legs[s.leg].Addr }
func (s twinSide) other() netip.AddrPort { return s.b.Legs[1-s.leg].Addr }

type twinFlow struct {
	from    twinSide // the initiator
	mine    uint32   // index that the initiator chose
	their   uint32   // and the responder, once open
	open    bool
	last    time.Time
	cookies [2]bool // one went to the initiator, one to the responder
}

// expects says whether packets that come from an address with an index are this flow's.
func (f *twinFlow) expects(from netip.AddrPort, index uint32) bool {
	return from == f.from.other() && index == f.mine || f.open && from == f.from.addr() && index == f.their
}

func (w *twin) forget(now time.Time) {
	w.flows = slices.DeleteFunc(w.flows, func(f *twinFlow) bool {
		if f.open {
			return now.Sub(f.last) >= 4*time.Minute
		}
		return now.Sub(f.last) >= 10*time.Second
	})
}

func (w *twin) find(from netip.AddrPort, index uint32) *twinFlow {
	for _, f := range w.flows {
		if f.expects(from, index) {
			return f
		}
	}
	return nil
}

func (w *twin) remove(f *twinFlow) {
	w.flows = slices.DeleteFunc(w.flows, func(g *twinFlow) bool { return f == g })
}

// claim makes room for what a flow expects: flows of its own binding go, those of others are in the way.
func (w *twin) claim(f *twinFlow) bool {
	var mine []*twinFlow
	for _, g := range w.flows {
		clash := g.expects(f.from.other(), f.mine) || f.open && g.expects(f.from.addr(), f.their)
		if g == f || !clash {
			continue
		}
		if g.from.b != f.from.b {
			return false
		}
		mine = append(mine, g)
	}
	for _, g := range mine {
		w.remove(g)
	}
	return true
}

// shrink drops the longest unused of the other flows of the binding in the same state.
func (w *twin) shrink(f *twinFlow, most int) {
	for {
		var others []*twinFlow
		for _, g := range w.flows {
			if g != f && g.from.b == f.from.b && g.open == f.open {
				others = append(others, g)
			}
		}
		if len(others) < most {
			return
		}
		w.remove(slices.MinFunc(others, func(x, y *twinFlow) int { return x.last.Compare(y.last) }))
	}
}

func (w *twin) unknown(from netip.AddrPort) Verdict {
	if slices.ContainsFunc(w.placed, func(s twinSide) bool { return s.addr() == from }) {
		return NoFlow
	}
	return Unregistered
}

// named are the legs at an address whose other side has the key that a packet's mac1 is made with.
func (w *twin) named(from netip.AddrPort, p []byte) (sides []twinSide) {
	for _, s := range w.placed {
		if s.addr() == from && bytes.Equal(putMAC1(bytes.Clone(p), s.b.Legs[1-s.leg].Key), p) {
			sides = append(sides, s)
		}
	}
	return sides
}

func (w *twin) packet(now time.Time, from netip.AddrPort, p []byte) (to netip.AddrPort, why Verdict) {
	w.forget(now)
	index := binary.LittleEndian.Uint32(p[4:])
	switch p[0] {
	case 1:
		return w.start(now, from, p, index)
	case 2:
		f := w.find(from, binary.LittleEndian.Uint32(p[8:]))
		if f == nil {
			return to, w.unknown(from)
		}
		if f.open {
			return to, Repeated
		}
		// Whose it is: the chosen binding's if it fits or none does.
		var fit []twinSide
		for _, s := range w.named(from, p) {
			if s.other() == f.from.addr() {
				fit = append(fit, twinSide{s.b, 1 - s.leg})
			}
		}
		if len(fit) > 0 && !slices.ContainsFunc(fit, func(s twinSide) bool { return s.b == f.from.b }) {
			w.remove(f)
			w.flows = append(w.flows, f)
			f.from = fit[0]
		}
		f.their, f.open, f.last = index, true, now
		if !w.claim(f) {
			w.remove(f)
			return to, Taken
		}
		w.shrink(f, w.limits.Flows)
		return f.from.addr(), Forwarded
	}
	f := w.find(from, index)
	if f == nil {
		return to, w.unknown(from)
	}
	target, way := f.from, 0
	if from == f.from.addr() {
		target.leg, way = 1-target.leg, 1
	}
	switch {
	case p[0] == 4 && !f.open:
		return to, NotOpen
	case p[0] == 4 && !target.b.proven[target.leg]:
		return to, Unproven
	case p[0] == 4:
		f.last = now
	case f.cookies[way]:
		return to, Repeated
	default:
		f.cookies[way] = true
	}
	return target.addr(), Forwarded
}

func (w *twin) start(now time.Time, from netip.AddrPort, p []byte, index uint32) (to netip.AddrPort, why Verdict) {
	if w.unknown(from) == Unregistered {
		return to, Unregistered
	}
	sides := w.named(from, p)
	if len(sides) == 0 {
		return to, NoBinding
	}
	sides = slices.DeleteFunc(sides, func(s twinSide) bool { return !s.other().IsValid() })
	if len(sides) == 0 {
		return to, Nowhere
	}
	chosen := slices.MinFunc(sides, func(x, y twinSide) int { return x.b.tried.Compare(y.b.tried) })
	for _, s := range sides {
		if f := w.find(s.other(), index); f != nil && f.from == s {
			return to, Repeated
		}
	}
	if !chosen.b.starts[chosen.leg].take(now, 1, startRate, startBurst) {
		return to, Limited
	}
	f := &twinFlow{from: chosen, mine: index, last: now}
	if !w.claim(f) {
		return to, Taken
	}
	w.flows = append(w.flows, f)
	w.shrink(f, maxPending)
	chosen.b.tried = now
	return chosen.other(), Forwarded
}

func (w *twin) bind(now time.Time, b Binding) bool {
	owned := 0
	for _, o := range w.bound {
		if o.ID == b.ID {
			o.Expires = b.Expires
			return o.Legs[0].Key == b.Legs[0].Key && o.Legs[1].Key == b.Legs[1].Key
		}
		if o.Owner == b.Owner {
			owned++
		}
	}
	if len(w.bound) >= w.limits.Bindings || owned >= w.limits.PerOwner || b.Legs[0].Addr == b.Legs[1].Addr && b.Legs[0].Addr.IsValid() {
		return false
	}
	n := &twinBinding{Binding: b}
	w.bound = append(w.bound, n)
	for i, l := range b.Legs {
		if l.Addr.IsValid() {
			w.placed = append(w.placed, twinSide{n, i})
		}
	}
	return true
}

func (w *twin) unbind(id ID) {
	w.bound = slices.DeleteFunc(w.bound, func(b *twinBinding) bool { return b.ID == id })
	w.placed = slices.DeleteFunc(w.placed, func(s twinSide) bool { return s.b.ID == id })
	w.flows = slices.DeleteFunc(w.flows, func(f *twinFlow) bool { return f.from.b.ID == id })
}

func (w *twin) expire(now time.Time) (ids []ID) {
	for _, b := range slices.Clone(w.bound) {
		if !b.Expires.After(now) {
			ids = append(ids, b.ID)
			w.unbind(b.ID)
		}
	}
	slices.SortFunc(ids, ID.Compare)
	return ids
}

// hear handles a registration, or the answer to a question: the proof.
func (w *twin) hear(now time.Time, from netip.AddrPort, id ID, leg int, counter uint64, proof bool) {
	i := slices.IndexFunc(w.bound, func(b *twinBinding) bool { return b.ID == id })
	if i < 0 {
		return
	}
	b := w.bound[i]
	s := twinSide{b, leg}
	switch {
	case from == s.other():
		return
	case proof:
		b.proven[leg] = true
	case counter <= b.counter[leg] || !b.scouts[leg].take(now, 1, scoutRate, scoutBurst):
		return
	default:
		if b.counter[leg] = counter; b.proven[leg] {
			return
		}
	}
	if s.addr() == from {
		return
	}
	w.forget(now)
	var theirs []*twinFlow
	for _, f := range slices.Clone(w.flows) {
		if f.from.b == b {
			theirs = append(theirs, f)
		}
	}
	b.Legs[leg].Addr = from
	w.placed = append(slices.DeleteFunc(w.placed, func(x twinSide) bool { return x == s }), s)
	for _, f := range theirs {
		if !w.claim(f) {
			w.remove(f)
		}
	}
}

// addrs are where the legs are, by binding.
func (w *twin) addrs() (all [][2]netip.AddrPort) {
	slices.SortFunc(w.bound, func(x, y *twinBinding) int { return x.ID.Compare(y.ID) })
	for _, b := range w.bound {
		all = append(all, [2]netip.AddrPort{b.Legs[0].Addr, b.Legs[1].Addr})
	}
	return all
}

func TestTableAgainstItsTwin(t *testing.T) {
	addrs := []netip.AddrPort{alpha, beta, gamma, stray}
	keys := [][32]byte{keyA, keyB, keyC}
	rapid.Check(t, func(t *rapid.T) {
		pick := func(name string, n int) int { return rapid.IntRange(0, n-1).Draw(t, name) }
		limits := Limits{Bindings: 4, PerOwner: 3, Flows: 1 + pick("flows", 3)}
		table, slow := NewTable(limits), &twin{limits: limits}
		now, counter, proofs := start, uint64(0), uint64(1<<40)
		made := map[byte]Binding{}
		for range rapid.IntRange(50, 400).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 0, 0, 0, 0, 100, 100, 1000, 1000, 6000, 100_000}).Draw(t, "ms")) * time.Millisecond)
			from := addrs[pick("from", len(addrs))]
			number := byte(pick("binding", 5))
			switch what := pick("what", 20); {
			case what < 3:
				b, known := made[number]
				if !known {
					one := pick("key", len(keys))
					b = pair(number, keys[one], keys[(one+1+pick("other", len(keys)-1))%len(keys)])
					b.Owner = topology.NodeID{byte(pick("owner", 2))}
					made[number] = b
				}
				b.Expires = now.Add(time.Duration(1+pick("minutes", 10)) * time.Minute)
				for i := range b.Legs { // two of the places are popular
					if at := rapid.SampledFrom([]int{-1, i, i, i, 1 - i, 2, 3}).Draw(t, "addr"); at >= 0 {
						b.Legs[i].Addr = addrs[at]
					}
				}
				if err, ok := table.Bind(now, b), slow.bind(now, b); (err == nil) != ok {
					t.Fatalf("Bind: %v, twin %v", err, ok)
				}
			case what == 3:
				table.Unbind(ID{number})
				slow.unbind(ID{number})
			case what == 4:
				if got, want := table.Expire(now), slow.expire(now); !slices.Equal(got, want) {
					t.Fatalf("Expire: %v, twin %v", got, want)
				}
			case what < 8:
				leg := pick("leg", 2)
				counter += uint64(pick("newer", 2))
				key := scout.DeriveKey([32]byte{number, byte(leg)}, nil)
				p, proof := request(key, counter, counter), rapid.Bool().Draw(t, "proof")
				if proof {
					proofs++
					table.Register(now, ID{number}, leg, proofs)
					p = scout.Encode(key, scout.Message{Kind: scout.Answer, Tx: proofs})
				}
				table.Hear(now, from, p)
				slow.hear(now, from, ID{number}, leg, counter, proof)
			default:
				index := func(name string) uint32 { return uint32(1 + pick(name, 8)) }
				receiver := index("receiver")
				if len(slow.flows) > 0 && rapid.Bool().Draw(t, "fits") { // as somebody would who takes part
					f := slow.flows[pick("flow", len(slow.flows))]
					from, receiver = f.from.other(), f.mine
					if f.open && rapid.Bool().Draw(t, "back") {
						from, receiver = f.from.addr(), f.their
					}
				}
				p := cookies(receiver)
				switch {
				case what < 12:
					if n := len(slow.placed); n > 0 {
						from = slow.placed[pick("side", n)].addr()
					}
					p = starts(keys[pick("key", len(keys))], index("sender"))
				case what < 16:
					p = answers(keys[pick("key", len(keys))], index("sender"), receiver)
				case what < 19:
					p = carries(receiver, 48)
				}
				to, why := table.Packet(now, from, p)
				if wantTo, want := slow.packet(now, from, p); to != wantTo || why != want {
					t.Fatalf("type %d from %s: %s (%s), twin %s (%s)", p[0], from, to, why, wantTo, want)
				}
			}
			if err := consistent(table); err != nil {
				t.Fatal(err)
			}
			var addrs [][2]netip.AddrPort
			for _, b := range table.Bindings() {
				addrs = append(addrs, [2]netip.AddrPort{b.Legs[0].Addr, b.Legs[1].Addr})
			}
			if want := slow.addrs(); !slices.Equal(addrs, want) {
				t.Fatalf("legs at %v, twin %v", addrs, want)
			}
		}
	})
}
