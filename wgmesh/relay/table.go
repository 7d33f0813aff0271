package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// Table holds the bindings of a relay and their flows. It is not safe for concurrent use.
type Table struct {
	limits   Limits
	bindings map[ID]*binding
	owners   map[topology.NodeID]int // bindings of each
	tags     map[[scout.TagSize]byte]side
	places   map[netip.AddrPort]*place
	routes   map[key]*route
	strays   map[uint32]*route // by the index alone, to recognise who comes from elsewhere; the newest
	counters Counters
}

// Counters tell what a table decided, by verdict.
type Counters [Verdicts]Traffic

// Status is what is told of a binding.
type Status struct {
	Binding
	Flows int          // sessions, and handshakes that wait for their answer
	Heard [2]time.Time // last registration of each leg that was proven; zero: none yet
	Last  time.Time    // last packet
	Sent  [2]Traffic   // forwarded, by the leg it came from
}

// NewTable returns an empty table.
func NewTable(l Limits) *Table {
	return &Table{
		limits:   l.orDefaults(),
		bindings: map[ID]*binding{},
		owners:   map[topology.NodeID]int{},
		tags:     map[[scout.TagSize]byte]side{},
		places:   map[netip.AddrPort]*place{},
		routes:   map[key]*route{},
		strays:   map[uint32]*route{},
	}
}

// Bind adds a binding, or sets the end of one that is there. An error is for the member who asked.
func (t *Table) Bind(now time.Time, b Binding) error {
	if !b.Expires.After(now) {
		return errors.New("the binding has expired already")
	}
	if old := t.bindings[b.ID]; old != nil {
		if !old.Legs[0].same(b.Legs[0]) || !old.Legs[1].same(b.Legs[1]) {
			return fmt.Errorf("binding %s is in use by another pair", b.ID)
		}
		old.Expires = b.Expires
		return nil
	}
	if err := t.fits(b); err != nil {
		return err
	}
	n := &binding{Binding: b}
	t.bindings[b.ID] = n
	t.owners[b.Owner]++
	for i := range n.Legs {
		l := &n.Legs[i]
		t.tags[l.Scout.Tag] = side{n, i}
		if l.Addr = plain(l.Addr); !usable(l.Addr) {
			l.Addr = netip.AddrPort{}
		}
	}
	for i := range n.Legs {
		if n.Legs[i].Addr.IsValid() {
			t.arrive(side{n, i})
		}
	}
	return nil
}

// fits says why a new binding is refused.
func (t *Table) fits(b Binding) error {
	one, two := b.Legs[0], b.Legs[1]
	switch {
	case one.Key == two.Key:
		return errors.New("both legs of the binding lead to one WireGuard key")
	case one.Node == two.Node:
		return errors.New("both legs of the binding lead to one neighbour")
	case one.Addr.IsValid() && plain(one.Addr) == plain(two.Addr):
		return errors.New("both legs of the binding are at one address")
	case len(t.bindings) >= t.limits.Bindings:
		return fmt.Errorf("the relay is full: it carries %d bindings", t.limits.Bindings)
	case t.owners[b.Owner] >= t.limits.PerOwner:
		return fmt.Errorf("the quota of %s is used up: %d bindings", b.Owner.Short(), t.limits.PerOwner)
	}
	_, first := t.tags[one.Scout.Tag]
	_, second := t.tags[two.Scout.Tag]
	if first || second || one.Scout.Tag == two.Scout.Tag {
		return errors.New("a registration key of the binding is in use: agree on new ones")
	}
	return nil
}

// Unbind ends a binding with its flows.
func (t *Table) Unbind(id ID) {
	b := t.bindings[id]
	if b == nil {
		return
	}
	for len(b.flows) > 0 {
		t.drop(b.flows[0])
	}
	for i, l := range b.Legs {
		delete(t.tags, l.Scout.Tag)
		if l.Addr.IsValid() {
			t.leave(side{b, i})
		}
	}
	if t.owners[b.Owner]--; t.owners[b.Owner] == 0 {
		delete(t.owners, b.Owner)
	}
	delete(t.bindings, id)
}

// Expire ends what is over and returns the bindings that are.
func (t *Table) Expire(now time.Time) []ID {
	var over []ID
	for id, b := range t.bindings {
		if !b.Expires.After(now) {
			over = append(over, id)
			continue
		}
		for _, f := range slices.Clone(b.flows) {
			if !f.alive(now) {
				t.drop(f)
			}
		}
	}
	for _, id := range over {
		t.Unbind(id)
	}
	slices.SortFunc(over, ID.Compare)
	return over
}

// Len returns how many bindings there are.
func (t *Table) Len() int { return len(t.bindings) }

// Bindings returns what is bound, in the order of the ids.
func (t *Table) Bindings() []Status {
	all := make([]Status, 0, len(t.bindings))
	for _, b := range t.bindings {
		all = append(all, Status{
			Binding: b.Binding, Flows: len(b.flows), Last: b.last, Sent: b.sent,
			Heard: [2]time.Time{b.legs[0].heard, b.legs[1].heard},
		})
	}
	slices.SortFunc(all, func(x, y Status) int { return x.ID.Compare(y.ID) })
	return all
}

// Counters returns what was decided so far.
func (t *Table) Counters() Counters { return t.counters }
