package learner

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/weavewg/weavewg/topology"
)

// twin is the slow, plain version of Table: one list, oldest first.
type twin struct {
	limits  Limits
	entries []Entry
}

func (w *twin) find(mac MAC) int {
	return slices.IndexFunc(w.entries, func(e Entry) bool { return e.MAC == mac })
}

func (w *twin) count(owner topology.NodeID) (n int) {
	for _, e := range w.entries {
		if e.Owner == owner {
			n++
		}
	}
	return n
}

func (w *twin) remove(i int) Entry {
	e := w.entries[i]
	w.entries = slices.Delete(w.entries, i, i+1)
	return e
}

// room makes place for one more of owner; fresh says that it adds to the total.
func (w *twin) room(owner topology.NodeID, fresh bool) bool {
	total := len(w.entries)
	if fresh {
		total++
	}
	if w.count(owner) < w.limits.PerOwner && total <= w.limits.Total {
		return true
	}
	i := slices.IndexFunc(w.entries, func(e Entry) bool { return e.Owner == owner })
	if i < 0 {
		return false
	}
	w.remove(i)
	return true
}

func (w *twin) learn(now time.Time, mac MAC, owner topology.NodeID) Outcome {
	i := w.find(mac)
	if i >= 0 && now.Sub(w.entries[i].Seen) >= w.limits.Age {
		same := w.entries[i].Owner == owner
		w.remove(i)
		if same { // its place is free again: no room to make
			w.entries = append(w.entries, Entry{MAC: mac, Owner: owner, Since: now, Seen: now})
			return Learned
		}
		i = -1
	}
	switch {
	case i < 0:
		if mac.Group() || mac.IsZero() || !w.room(owner, true) {
			return Refused
		}
		w.entries = append(w.entries, Entry{MAC: mac, Owner: owner, Since: now, Seen: now})
		return Learned
	case w.entries[i].Owner == owner:
		if now.Sub(w.entries[i].Seen) >= w.limits.Age/10 {
			e := w.remove(i)
			e.Seen = now
			w.entries = append(w.entries, e)
		}
		return Refreshed
	}
	if !w.room(owner, false) {
		return Refused
	}
	e := w.remove(w.find(mac))
	e.Owner, e.Since, e.Seen = owner, now, now
	e.Moves++
	w.entries = append(w.entries, e)
	return Moved
}

func TestTableAgainstItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{
			Age:      100 * time.Second,
			Total:    rapid.IntRange(1, 12).Draw(t, "total"),
			PerOwner: rapid.IntRange(1, 6).Draw(t, "per owner"),
		}
		table, slow := New(limits), &twin{limits: limits}
		now := start
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "seconds")) * time.Second)
			mac := MAC{2, 0, 0, 0, 0, byte(rapid.IntRange(0, 15).Draw(t, "mac"))}
			node := topology.NodeID{byte(rapid.IntRange(0, 3).Draw(t, "owner"))}
			switch rapid.IntRange(0, 9).Draw(t, "what") {
			case 0:
				slow.entries = slices.DeleteFunc(slow.entries, func(e Entry) bool { return now.Sub(e.Seen) >= limits.Age })
				n := table.Len() - len(slow.entries)
				if got := table.Expire(now); got != n {
					t.Fatalf("expired %d, twin %d", got, n)
				}
			case 1:
				slow.entries = slices.DeleteFunc(slow.entries, func(e Entry) bool { return e.Owner == node })
				table.DropPeer(node)
			case 2:
				mac[0] |= byte(rapid.IntRange(0, 1).Draw(t, "group"))
				fallthrough
			default:
				if got, want := table.Learn(now, mac, node), slow.learn(now, mac, node); got != want {
					t.Fatalf("Learn(%s, %s): %v, twin %v", mac, node.Short(), got, want)
				}
			}
			compare(t, table, slow, now)
		}
	})
}

func compare(t *rapid.T, table *Table, slow *twin, now time.Time) {
	want := slices.DeleteFunc(slices.Clone(slow.entries), func(e Entry) bool { return now.Sub(e.Seen) >= slow.limits.Age })
	slices.SortFunc(want, func(a, b Entry) int { return a.MAC.Compare(b.MAC) })
	got := table.Entries(now)
	if len(got) != len(want) || table.Len() != len(slow.entries) {
		t.Fatalf("%d fresh of %d, twin %d of %d", len(got), table.Len(), len(want), len(slow.entries))
	}
	for i := range got {
		g, w := got[i], want[i]
		if g.MAC != w.MAC || g.Owner != w.Owner || !g.Seen.Equal(w.Seen) || !g.Since.Equal(w.Since) || g.Moves != w.Moves {
			t.Fatalf("entry %d: %+v, twin %+v", i, g, w)
		}
		if o, ok := table.Lookup(now, w.MAC); !ok || o != w.Owner {
			t.Fatalf("Lookup(%s) = %s, %v", w.MAC, o.Short(), ok)
		}
	}
	for owner, share := range table.shares {
		if share.Len() == 0 || share.Len() > slow.limits.PerOwner || share.Len() != slow.count(owner) {
			t.Fatalf("share of %s: %d", owner.Short(), share.Len())
		}
	}
}
