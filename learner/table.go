package learner

import (
	"container/list"
	"net/netip"
	"slices"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// Limits of a Table. Zero fields take the defaults.
type Limits struct {
	// Age is how long a MAC is believed after its last sight. The default of 300 s is what Linux bridges and IEEE
	// 802.1Q use: the bridges beside us forget at the same time, and it outlasts the ARP caches of common stations, so
	// that a flow which is only refreshed by ARP never floods in between.
	Age      time.Duration
	Total    int // MACs in all
	PerOwner int // MACs of one node, so that no node can push the others out
}

// The defaults.
const (
	DefaultAge      = 300 * time.Second
	DefaultTotal    = 32768
	DefaultPerOwner = 4096
)

// FlapWindow is how soon after a move another one counts as flapping: two stations with one address, or a loop.
const FlapWindow = 10 * time.Second

// Outcome says what Learn made of a sight.
type Outcome uint8

// The outcomes.
const (
	Refreshed Outcome = iota // known there; written only after a tenth of the lifetime
	Learned                  // new
	Moved                    // was behind another node until now
	Refused                  // no station's address, or no room left in the table and none in the owner's share
)

// Counters tell what happened to a table since it was made.
type Counters struct {
	Learned, Moved, Flapped, Refused, Evicted, Aged uint64
}

// Table maps the MACs of one network to their owners. It is not safe for concurrent use.
type Table struct {
	limits   Limits
	entries  map[MAC]*list.Element          // of *Entry
	shares   map[topology.NodeID]*list.List // per owner, most recently seen first
	counters Counters
}

// New returns an empty table.
func New(l Limits) *Table {
	if l.Age <= 0 {
		l.Age = DefaultAge
	}
	if l.Total <= 0 {
		l.Total = DefaultTotal
	}
	if l.PerOwner <= 0 {
		l.PerOwner = DefaultPerOwner
	}
	return &Table{limits: l, entries: map[MAC]*list.Element{}, shares: map[topology.NodeID]*list.List{}}
}

// Learn notes that mac was seen as the source of a frame at owner. The last sight wins at once, local or not: a
// station that moved must be reachable with its first frame (Weave was deaf to it for up to ten minutes); a station
// that moves back and forth is counted as flapping. A sight that is news to nobody writes nothing.
func (t *Table) Learn(now time.Time, mac MAC, owner topology.NodeID) Outcome {
	el, known := t.entries[mac]
	if !known {
		return t.add(now, mac, owner)
	}
	e := el.Value.(*Entry)
	since := now.Sub(e.Seen)
	if e.Owner == owner {
		if since < t.limits.Age/10 {
			return Refreshed
		}
		e.Seen = now
		t.shares[owner].MoveToFront(el)
		if since >= t.limits.Age { // it had aged, only nobody had swept yet
			e.Since, e.Moves, e.IPs = now, 0, nil
			t.counters.Aged++
			t.counters.Learned++
			return Learned
		}
		return Refreshed
	}
	if since >= t.limits.Age {
		t.drop(el)
		t.counters.Aged++
		return t.add(now, mac, owner)
	}
	return t.move(now, el, owner)
}

func (t *Table) add(now time.Time, mac MAC, owner topology.NodeID) Outcome {
	if mac.Group() || mac.IsZero() || !t.makeRoom(owner, 1) {
		t.counters.Refused++
		return Refused
	}
	t.entries[mac] = t.share(owner).PushFront(&Entry{MAC: mac, Owner: owner, Since: now, Seen: now})
	t.counters.Learned++
	return Learned
}

func (t *Table) move(now time.Time, el *list.Element, owner topology.NodeID) Outcome {
	e := el.Value.(*Entry)
	if !t.makeRoom(owner, 0) {
		t.counters.Refused++
		return Refused
	}
	t.unlink(el)
	if e.Moves > 0 && now.Sub(e.Since) < FlapWindow {
		t.counters.Flapped++
	}
	e.Owner, e.Since, e.Seen = owner, now, now
	e.Moves++
	t.entries[e.MAC] = t.share(owner).PushFront(e)
	t.counters.Moved++
	return Moved
}

// makeRoom lets owner have one entry more, of which added are new to the table, at the cost of its own oldest alone.
func (t *Table) makeRoom(owner topology.NodeID, added int) bool {
	own := t.shares[owner]
	if own != nil && own.Len() >= t.limits.PerOwner || len(t.entries)+added > t.limits.Total {
		if own == nil {
			return false
		}
		t.drop(own.Back())
		t.counters.Evicted++
	}
	return true
}

func (t *Table) share(owner topology.NodeID) *list.List {
	l := t.shares[owner]
	if l == nil {
		l = list.New()
		t.shares[owner] = l
	}
	return l
}

// unlink takes an entry out of its owner's share; empty shares go.
func (t *Table) unlink(el *list.Element) {
	owner := el.Value.(*Entry).Owner
	l := t.shares[owner]
	l.Remove(el)
	if l.Len() == 0 {
		delete(t.shares, owner)
	}
}

func (t *Table) drop(el *list.Element) {
	t.unlink(el)
	delete(t.entries, el.Value.(*Entry).MAC)
}

// Bind notes that a known MAC uses an IP address. Addresses of unknown MACs are not kept: the frame that carries the
// pair is learned first. Unspecified and multicast addresses belong to no station.
func (t *Table) Bind(now time.Time, mac MAC, ip netip.Addr, from Source) {
	if el, ok := t.entries[mac]; ok && ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast() {
		el.Value.(*Entry).bind(now, ip.Unmap(), from)
	}
}

// Lookup returns the owner of a MAC that was seen within the lifetime.
func (t *Table) Lookup(now time.Time, mac MAC) (owner topology.NodeID, ok bool) {
	el, ok := t.entries[mac]
	if !ok {
		return owner, false
	}
	e := el.Value.(*Entry)
	return e.Owner, now.Sub(e.Seen) < t.limits.Age
}

// Forget drops one MAC: its port is gone.
func (t *Table) Forget(mac MAC) bool {
	el, ok := t.entries[mac]
	if ok {
		t.drop(el)
	}
	return ok
}

// DropPeer drops all that is behind a peer and returns how many that were.
func (t *Table) DropPeer(owner topology.NodeID) int {
	l := t.shares[owner]
	if l == nil {
		return 0
	}
	n := l.Len()
	for el := l.Front(); el != nil; el = el.Next() {
		delete(t.entries, el.Value.(*Entry).MAC)
	}
	delete(t.shares, owner)
	return n
}

// Expire drops what was not seen within the lifetime and returns how many that were. Lookup never returns such an
// entry anyway; sweeping frees the room.
func (t *Table) Expire(now time.Time) int {
	n := 0
	for _, el := range t.entries {
		if now.Sub(el.Value.(*Entry).Seen) >= t.limits.Age {
			t.drop(el)
			n++
		}
	}
	t.counters.Aged += uint64(n)
	return n
}

// Entries returns copies of what is known and fresh, in the order of the MACs.
func (t *Table) Entries(now time.Time) []Entry {
	out := make([]Entry, 0, len(t.entries))
	for _, el := range t.entries {
		e := *el.Value.(*Entry)
		if now.Sub(e.Seen) < t.limits.Age {
			e.IPs = slices.Clone(e.IPs)
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return a.MAC.Compare(b.MAC) })
	return out
}

// Len returns how many MACs the table holds.
func (t *Table) Len() int { return len(t.entries) }

// Counters returns what happened so far.
func (t *Table) Counters() Counters { return t.counters }
