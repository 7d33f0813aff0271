package relay

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

// flow is a WireGuard session, or the handshake that may become one.
type flow struct {
	b      *binding
	from   int       // the leg that the initiation came from
	index  [2]uint32 // chosen by the slot at that side; the responder's counts once open
	open   bool      // the initiation was answered
	cookie [2]bool   // a cookie came from that leg
	last   time.Time // last packet; of a pending one: the initiation
	routes [2]route  // from each leg
}

// route is where packets from one leg go.
type route struct {
	flow *flow
	leg  int // they come from
	to   netip.AddrPort
}

// key is what a packet shows of its session: where it comes from, and the index that its receiver chose.
type key struct{ hi, lo, rest uint64 }

func keyOf(from netip.AddrPort, index uint32) key {
	ip := from.Addr().As16()
	return key{binary.BigEndian.Uint64(ip[:8]), binary.BigEndian.Uint64(ip[8:]), uint64(from.Port())<<32 | uint64(index)}
}

// alive says whether a flow still counts. Expire drops it later.
func (f *flow) alive(now time.Time) bool {
	if f.open {
		return now.Sub(f.last) < FlowLifetime
	}
	return now.Sub(f.last) < PendingLifetime
}

// key returns the key of the packets from a leg.
func (f *flow) key(leg int) key { return keyOf(f.b.Legs[leg].Addr, f.index[1-leg]) }

// has says whether packets from a leg are known: before the answer only those of the responder.
func (f *flow) has(leg int) bool { return f.open || leg != f.from }

// hook makes the routes of a flow known. It returns false, and makes none known, if another flow's is in the way.
func (t *Table) hook(now time.Time, f *flow) bool {
	for leg := range 2 {
		if f.has(leg) && t.taken(now, f, f.key(leg)) {
			return false
		}
	}
	for leg := range 2 {
		if !f.has(leg) {
			continue
		}
		k := f.key(leg)
		if r := t.routes[k]; r != nil && r.flow != f {
			t.drop(r.flow) // dead, or of this binding: the slot has chosen the index again
		}
		f.routes[leg] = route{flow: f, leg: leg, to: f.b.Legs[1-leg].Addr}
		t.routes[k] = &f.routes[leg]
		t.strays[f.index[1-leg]] = &f.routes[leg]
	}
	return true
}

// taken says whether a route belongs to the living flow of another binding.
func (t *Table) taken(now time.Time, f *flow, k key) bool {
	r := t.routes[k]
	return r != nil && r.flow.b != f.b && r.flow.alive(now)
}

// unhook makes the routes of a flow unknown.
func (t *Table) unhook(f *flow) {
	for leg := range 2 {
		r := &f.routes[leg]
		if k := f.key(leg); t.routes[k] == r {
			delete(t.routes, k)
		}
		if t.strays[f.index[1-leg]] == r {
			delete(t.strays, f.index[1-leg])
		}
	}
}

// drop ends a flow.
func (t *Table) drop(f *flow) {
	t.unhook(f)
	if i := slices.Index(f.b.flows, f); i >= 0 {
		f.b.flows = slices.Delete(f.b.flows, i, i+1)
	}
}

// makeRoom drops the longest unused of the other flows in the same state, until this one is within the limit.
func (t *Table) makeRoom(f *flow, limit int) {
	for {
		n, oldest := 1, (*flow)(nil)
		for _, o := range f.b.flows {
			if o == f || o.open != f.open {
				continue
			}
			n++
			if oldest == nil || o.last.Before(oldest.last) {
				oldest = o
			}
		}
		if n <= limit {
			return
		}
		t.drop(oldest)
	}
}

// give hands a flow over to another binding with legs at the same addresses.
func (t *Table) give(f *flow, to side) {
	t.drop(f)
	if f.from != to.leg {
		f.index[0], f.index[1] = f.index[1], f.index[0]
		f.cookie[0], f.cookie[1] = f.cookie[1], f.cookie[0]
		f.from = to.leg
	}
	f.b = to.b
	f.b.flows = append(f.b.flows, f)
}
