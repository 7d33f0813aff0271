package relay

import (
	"net/netip"
	"testing"
	"time"
)

// crowded makes a table between two relays that carries n sessions, each of a pair of its own, and their indices.
func crowded(tb testing.TB, n int) (t *Table, data [][]byte) {
	tb.Helper()
	t = NewTable(Limits{PerOwner: n})
	for i := range n {
		one, two := [32]byte{1, byte(i), byte(i >> 8)}, [32]byte{2, byte(i), byte(i >> 8)}
		b := at(pair(1, one, two), alpha, gamma)
		b.ID = ID{2: byte(i), 3: byte(i >> 8)}
		for leg := range b.Legs {
			b.Legs[leg].Scout.Tag = [8]byte{byte(i), byte(i >> 8), byte(leg)}
		}
		if err := t.Bind(start, b); err != nil {
			tb.Fatal(err)
		}
		prove(t, start, b.ID, 0, alpha)
		prove(t, start, b.ID, 1, gamma)
		t.Packet(start, alpha, starts(two, uint32(2*i)))
		if _, why := t.Packet(start, gamma, answers(one, uint32(2*i+1), uint32(2*i))); why != Forwarded {
			tb.Fatal(why)
		}
		data = append(data, carries(uint32(2*i+1), 1452))
	}
	return t, data
}

func TestDataAllocatesNothing(t *testing.T) {
	table, data := crowded(t, 8)
	for what, c := range map[string]struct {
		from netip.AddrPort
		p    []byte
		want Verdict
	}{
		"data":          {alpha, data[0], Forwarded},
		"unknown index": {alpha, carries(77, 100), NoFlow},
		"unknown peer":  {stray, data[0], Unregistered},
		"garbage":       {alpha, make([]byte, 100), Garbage},
		"other slot":    {alpha, starts(keyC, 9), NoBinding},
		"repeated":      {alpha, starts([32]byte{2}, 0), Repeated},
	} {
		if n := testing.AllocsPerRun(100, func() {
			if _, why := table.Packet(start, c.from, c.p); why != c.want {
				t.Fatalf("%s: %s", what, why)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func BenchmarkData(b *testing.B) {
	table, data := crowded(b, 1000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, why := table.Packet(start, alpha, data[i%len(data)]); why != Forwarded {
			b.Fatal(why)
		}
	}
}

// A handshake between two relays that have 1000 pairs in common.
func BenchmarkHandshake(b *testing.B) {
	table, _ := crowded(b, 1000)
	to, from := [32]byte{2, 500 & 0xff, 500 >> 8}, [32]byte{1, 500 & 0xff, 500 >> 8}
	now := start
	for i := uint32(1 << 20); b.Loop(); i += 2 {
		now = now.Add(time.Second)
		table.Packet(now, alpha, starts(to, i))
		if _, why := table.Packet(now, gamma, answers(from, i+1, i)); why != Forwarded {
			b.Fatal(why)
		}
	}
}
