package relay

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weavewg/weavewg/wgmesh/scout"
)

// Whatever comes in, a table stays consistent, sends nothing to where nobody is registered, nothing back to where it came
// from, and no answer that is longer than the question. Every fourth byte of the script starts an action: what, with which
// of the few addresses and bindings, and two indices.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 0, 1, 0, 2, 1, 2, 1, 4, 0, 2, 1}, []byte{})
	f.Add([]byte{0, 0, 0, 0, 5, 2, 0, 1, 1, 2, 1, 0, 2, 1, 2, 1, 4, 2, 2, 1, 6, 0, 0, 0, 7, 3, 2, 1}, make([]byte, 148))
	f.Add([]byte{0, 0, 1, 0, 8, 0, 0, 0}, carries(2, 100))
	addrs := []netip.AddrPort{alpha, beta, gamma, stray}
	keys := [][32]byte{keyA, keyB, keyC}
	var pairs [3]Binding
	for i := range pairs {
		pairs[i] = at(pair(byte(i), keys[i], keys[(i+1)%3]), addrs[i], addrs[i+1])
	}
	f.Fuzz(func(t *testing.T, script, packet []byte) {
		table := NewTable(Limits{Bindings: 2, PerOwner: 2, Flows: 2})
		now := start
		send := func(from netip.AddrPort, p []byte) {
			to, why := table.Packet(now, from, p)
			if (why == Forwarded) != to.IsValid() || to == from || to.IsValid() && (table.places[to] == nil || table.places[from] == nil) {
				t.Fatalf("%.20x from %s: to %v (%s)", p, from, to, why)
			}
			table.Ask(now, from, p)
		}
		for counter := uint64(1); len(script) >= 4; script = script[4:] {
			what, from := script[0]%10, addrs[script[1]%4]
			b, i := pairs[script[2]%3], uint32(script[2])
			j := uint32(script[3])
			counter++
			switch what {
			case 0:
				if err := table.Bind(now, b); err == nil && len(table.bindings) > 2 {
					t.Fatal("too many")
				}
			case 1:
				send(from, starts(keys[script[3]%3], i))
			case 2:
				send(from, answers(keys[script[3]%3], i, j))
			case 3:
				send(from, cookies(i))
			case 4:
				send(from, carries(i, 32+int(j)))
			case 5:
				q := request(b.Legs[j%2].Scout, counter, counter)
				if answer, _ := table.Hear(now, from, q); len(answer) > len(q) {
					t.Fatalf("%d bytes for %d", len(answer), len(q))
				}
			case 6:
				if j%8 == 0 {
					table.Unbind(b.ID)
				}
				now = now.Add(time.Duration(j) * time.Second)
				table.Expire(now)
			case 7:
				if q := table.Register(now, b.ID, int(j%3), counter); q != nil {
					m, err := scout.Decode(b.Legs[j%3].Scout, q)
					if err != nil {
						t.Fatal(err)
					}
					table.Hear(now, from, scout.Encode(b.Legs[j%3].Scout, m.Answered(from)))
				}
			case 8:
				send(from, packet)
			case 9:
				if answer, _ := table.Hear(now, from, packet); len(answer) > len(packet) {
					t.Fatalf("%d bytes for %d", len(answer), len(packet))
				}
			}
			if err := consistent(table); err != nil {
				t.Fatal(err)
			}
		}
	})
}
