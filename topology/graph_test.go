package topology

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// sealedOf seals without a notary: the graph never looks at signatures.
func sealedOf(t interface{ Fatal(...any) }, r *Record) Sealed {
	b, err := EncodeRecord(r)
	if err != nil {
		t.Fatal(err)
	}
	return Sealed{Body: b, Sig: []byte("sig"), Proof: []byte("proof")}
}

// nodeKey and nodeID give test nodes small numbers.
func nodeKey(i int) [32]byte { return sha256.Sum256([]byte(fmt.Sprint("node ", i))) }

func nodeID(i int) NodeID {
	k := nodeKey(i)
	return IDOf(k[:])
}

func nodeRecord(i int, v Version, edges ...Edge) *Record {
	return &Record{Key: nodeKey(i), Version: v, Name: fmt.Sprint("n", i), Port: 6783, Edges: edges}
}

// act is one thing that can happen to a graph.
type act struct {
	record *Record
	sealed Sealed
	drop   NodeID
	floor  Version
}

func (a act) on(g *Graph) {
	if a.record == nil {
		g.Drop(a.drop, a.floor)
		return
	}
	g.Merge(a.sealed, a.record)
}

// genAct draws from few nodes and versions, so that all outcomes occur, conflicts among them.
func genAct(t *rapid.T) act {
	i := rapid.IntRange(0, 4).Draw(t, "node")
	v := Version{uint64(rapid.IntRange(1, 2).Draw(t, "epoch")), uint64(rapid.IntRange(0, 2).Draw(t, "seq"))}
	if rapid.IntRange(0, 5).Draw(t, "drop") == 0 {
		return act{drop: nodeID(i), floor: v}
	}
	r := nodeRecord(i, v)
	r.Features = uint64(rapid.IntRange(0, 1).Draw(t, "features"))
	return act{record: r, sealed: sealedOf(t, r)}
}

func sameGraph(t *rapid.T, a, b *Graph) {
	if a.Hash() != b.Hash() || !slices.Equal(a.IDs(), b.IDs()) || len(a.floors) != len(b.floors) {
		t.Fatalf("graphs differ: %x %v, %x %v", a.Hash(), a.IDs(), b.Hash(), b.IDs())
	}
	for id, k := range a.nodes {
		if !slices.Contains(a.IDs(), id) || len(a.IDs()) != a.Len() {
			t.Fatalf("IDs misses %s of %d nodes", id, a.Len())
		}
		if !bytes.Equal(k.sealed.Body, b.nodes[id].sealed.Body) {
			t.Fatalf("%s differs", id)
		}
	}
	for id, f := range a.floors {
		if b.floors[id] != f {
			t.Fatalf("floor of %s differs", id)
		}
	}
}

// recount is the slow twin of the incremental hash.
func recount(g *Graph) uint64 {
	var h uint64
	for id, k := range g.nodes {
		h ^= hashOf(id, k.record.Version, k.sealed.Body)
	}
	return h
}

func TestMergeInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		acts := rapid.SliceOfN(rapid.Custom(genAct), 0, 25).Draw(t, "acts")
		a, b := NewGraph(MaxNodes), NewGraph(MaxNodes)
		for _, x := range acts {
			x.on(a)
			if a.Hash() != recount(a) {
				t.Fatalf("hash drifted: %x, want %x", a.Hash(), recount(a))
			}
		}
		twice := slices.Concat(acts, acts)
		for _, x := range rapid.Permutation(twice).Draw(t, "order") {
			x.on(b)
		}
		sameGraph(t, a, b)
	})
}

func TestMergeOutcomes(t *testing.T) {
	g := NewGraph(2)
	merge := func(r *Record) Outcome { return g.Merge(sealedOf(t, r), r) }
	flagged := func(r *Record, f uint64) *Record { r.Features = f; return r }
	if g.Hash() != 0 {
		t.Fatalf("empty graph has hash %x", g.Hash())
	}
	for i, c := range []struct {
		record *Record
		want   Outcome
		news   bool
		clash  bool
	}{
		{nodeRecord(0, Version{1, 1}), New, true, false},
		{nodeRecord(0, Version{1, 1}), Same, false, false},
		{nodeRecord(0, Version{1, 2}), Newer, true, false},
		{nodeRecord(0, Version{1, 1}), Older, false, false},
		{nodeRecord(0, Version{2, 0}), Newer, true, false},
		{flagged(nodeRecord(0, Version{2, 0}), 1), Conflict, true, true},
		{nodeRecord(0, Version{2, 0}), ConflictLost, false, true},
		{nodeRecord(1, Version{1, 1}), New, true, false},
		{nodeRecord(2, Version{1, 1}), Full, false, false},
		{nodeRecord(1, Version{1, 5}), Newer, true, false},
	} {
		got := merge(c.record)
		if got != c.want || got.News() != c.news || got.Clash() != c.clash {
			t.Errorf("step %d: %v (news %v, clash %v), want %v", i, got, got.News(), got.Clash(), c.want)
		}
	}
	if !g.Drop(nodeID(1), Version{1, 5}) || g.Drop(nodeID(1), Version{1, 5}) || g.Drop(nodeID(1), Version{1, 4}) {
		t.Error("Drop does not report whether the floor rose")
	}
	if got := merge(nodeRecord(1, Version{1, 5})); got != Forgotten {
		t.Errorf("record at the floor: %v", got)
	}
	if got := merge(nodeRecord(1, Version{2, 0})); got != New {
		t.Errorf("record above the floor: %v", got)
	}
	if !g.Drop(nodeID(1), Version{1, 9}) || g.Get(nodeID(1)) == nil {
		t.Error("a floor below the record removed it")
	}
	g.Drop(nodeID(7), Version{1, 1})
	if g.Drop(nodeID(8), Version{1, 1}) {
		t.Error("floors have no bound")
	}
}

// Two graphs that answer each other's digests become equal, whatever each knew, forgot or mistook.
func TestDigestsMakeEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := NewGraph(MaxNodes), NewGraph(MaxNodes)
		for _, g := range []*Graph{a, b} {
			for _, x := range rapid.SliceOfN(rapid.Custom(genAct), 0, 12).Draw(t, "acts") {
				x.on(g)
			}
		}
		toB, toA := a.Digest(), b.Digest()
		answer(t, b, toB, a)
		answer(t, a, toA, b)
		if a.Hash() != b.Hash() {
			t.Fatalf("differ: %v and %v", a.nodes, b.nodes)
		}
	})
}

// answer lets from answer digests and takes the answer into to, through the codec.
func answer(t interface{ Fatal(...any) }, from *Graph, digests []Message, to *Graph) {
	var c Compare
	for _, m := range digests {
		for _, reply := range c.Missing(from, through(t, m).Digest) {
			reply = through(t, reply)
			for _, s := range reply.Records {
				r, err := DecodeRecord(s.Body)
				if err != nil {
					t.Fatal(err)
				}
				to.Merge(s, r)
			}
			if f := reply.Forget; f != nil {
				to.Drop(f.Node, f.Floor)
			}
		}
	}
}

func through(t interface{ Fatal(...any) }, m Message) Message {
	b, err := EncodeMessage(m)
	if err != nil {
		t.Fatal(err)
	}
	m, err = DecodeMessage(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A full graph fits messages whatever its size: parts are cut, and only the last one asks for the rest.
func TestDigestInParts(t *testing.T) {
	full, some := NewGraph(MaxNodes), NewGraph(MaxNodes)
	for i := range MaxNodes {
		r := nodeRecord(i, Version{1 << 60, 1 << 60})
		r.Name = fmt.Sprintf("%060d", i)
		s := sealedOf(t, r)
		s.Sig, s.Proof = make([]byte, 64), make([]byte, 32)
		full.Merge(s, r)
		if i%3 > 0 {
			some.Merge(s, r)
		}
	}
	parts := some.Digest()
	if len(parts) < 2 {
		t.Fatalf("%d parts", len(parts))
	}
	for i, m := range parts {
		if m.Digest.Last != (i == len(parts)-1) {
			t.Errorf("part %d of %d: last is %v", i, len(parts), m.Digest.Last)
		}
	}
	answer(t, full, parts, some)
	if full.Hash() != some.Hash() {
		t.Fatalf("%d nodes after the answer, want %d", some.Len(), full.Len())
	}
}

func TestEdgesCountOnlyWhenConfirmed(t *testing.T) {
	g := NewGraph(MaxNodes)
	put := func(r *Record) { g.Merge(sealedOf(t, r), r) }
	edge := func(i int, cost uint8) Edge { return Edge{nodeID(i), cost} }
	put(nodeRecord(0, Version{1, 1}, edge(1, 2), edge(2, 1), edge(9, 1)))
	put(nodeRecord(1, Version{1, 1}, edge(0, 3), edge(3, 1)))
	put(nodeRecord(2, Version{1, 1}))
	put(nodeRecord(3, Version{1, 1}, edge(1, 1), edge(4, 1)))
	left := nodeRecord(4, Version{1, 1}, edge(3, 1))
	left.Left = true
	put(left)
	for _, c := range []struct {
		a, b int
		want bool
	}{{0, 1, true}, {1, 0, true}, {0, 2, false}, {2, 0, false}, {0, 9, false}, {9, 0, false}, {1, 3, true}, {3, 4, false}} {
		if got := g.Confirmed(nodeID(c.a), nodeID(c.b)); got != c.want {
			t.Errorf("edge %d–%d confirmed: %v", c.a, c.b, got)
		}
	}
	there, _ := g.confirmed(nodeID(0), nodeID(1))
	back, _ := g.confirmed(nodeID(1), nodeID(0))
	if there != 3 || back != 3 {
		t.Errorf("costs %d and %d, want the higher of both ends", there, back)
	}
	want := map[NodeID]bool{nodeID(0): true, nodeID(1): true, nodeID(3): true}
	got := g.Reachable(nodeID(0))
	if len(got) != len(want) || !got[nodeID(1)] || !got[nodeID(3)] || !got[nodeID(0)] {
		t.Errorf("reachable: %v", got)
	}
	absent := []NodeID{nodeID(2), nodeID(4)}
	slices.SortFunc(absent, NodeID.Compare)
	if got := g.Absent(nodeID(0)); !slices.Equal(got, absent) {
		t.Errorf("absent: %v, want %v", got, absent)
	}
}

func TestAllInOrder(t *testing.T) {
	g := NewGraph(MaxNodes)
	for i := range 20 {
		r := nodeRecord(i, Version{1, 1})
		g.Merge(sealedOf(t, r), r)
	}
	var ids []NodeID
	for id, r := range g.All() {
		if r.ID() != id {
			t.Fatalf("%s comes with the record of %s", id, r.ID())
		}
		ids = append(ids, id)
	}
	if len(ids) != 20 || !slices.IsSortedFunc(ids, NodeID.Compare) {
		t.Fatalf("order: %v", ids)
	}
}
