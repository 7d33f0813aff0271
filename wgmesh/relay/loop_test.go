package relay

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// A packet loses a hop at every relay. This is as many as an end gives it; real ones have 64 and more.
const hopBudget = 64

// world is a few honest relays, and members who lie: they have bound whatever they liked and say whatever they like.
type world struct {
	rng    *rand.Rand
	now    time.Time
	relays []*Table
	where  []netip.AddrPort // first the relays', then the liars'
	legs   []liarLeg
	power  power
	stamp  uint64

	longest, looped int
}

type liarLeg struct {
	relay int
	id    ID
	leg   int
	key   scout.Key
}

// power is what liars can do.
type power int

const (
	honestSenders power = iota // they send from where they are
	forgedScouts               // they register from the addresses of relays, but do not get what is sent there
	forgedPackets              // they send WireGuard packets from there too
)

var (
	worldKeys  = [][32]byte{{1}, {2}, {3}}
	worldAddrs = func() (all []netip.AddrPort) {
		for i := range 8 {
			all = append(all, netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), 6786))
		}
		return all
	}()
)

// newWorld binds at random: legs to other relays are registered at these, as an honest relay does; legs to liars at liars.
func newWorld(seed uint64, power power) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0)), now: start, power: power}
	n := 2 + w.rng.IntN(3)
	w.where = worldAddrs[:n+2+w.rng.IntN(2)]
	for r := range n {
		t := NewTable(Limits{Flows: 4})
		w.relays = append(w.relays, t)
		for i := range 2 + w.rng.IntN(5) {
			b := Binding{ID: ID{byte(i)}, Expires: start.Add(time.Hour)}
			one := w.rng.IntN(3)
			b.Legs[0].Key, b.Legs[1].Key = worldKeys[one], worldKeys[(one+1+w.rng.IntN(2))%3]
			for leg := range 2 {
				to := w.rng.IntN(len(w.where))
				if to == r {
					to = (to + 1) % len(w.where)
				}
				l := &b.Legs[leg]
				l.Node, l.Addr = topology.NodeID{byte(to), byte(leg)}, w.where[to]
				l.Scout = scout.Key{Tag: [8]byte{byte(i), byte(leg)}}
				if to >= n {
					w.legs = append(w.legs, liarLeg{r, b.ID, leg, l.Scout})
				}
			}
			if t.Bind(start, b) == nil { // what is refused is not there
				legs := &t.bindings[b.ID].legs
				legs[0].proven, legs[1].proven = true, true
			}
		}
	}
	return w
}

// travel sends a packet to a relay, and on as the relays say. It is an error if it lives too long, or passes a relay twice in
// one way.
func (w *world) travel(at int, from netip.AddrPort, p []byte) error {
	seen := map[[2]netip.AddrPort]bool{}
	for hops := 1; ; hops++ {
		here := w.where[at]
		to, why := w.relays[at].Packet(w.now, from, p)
		if why != Forwarded {
			return nil
		}
		w.longest = max(w.longest, hops)
		if seen[[2]netip.AddrPort{from, here}] {
			w.looped++
			if w.power < forgedPackets || p[0] != transport {
				return fmt.Errorf("type %d, index %d comes to %s from %s again", p[0], receiverOf(uint32(p[0]), p), here, from)
			}
		}
		seen[[2]netip.AddrPort{from, here}] = true
		if hops == hopBudget {
			return nil // its TTL is used up
		}
		next := -1
		for i := range w.relays {
			if w.where[i] == to {
				next = i
			}
		}
		if next < 0 {
			return nil // a liar has it
		}
		at, from = next, here
	}
}

// act lets a liar do something.
func (w *world) act() error {
	w.now = w.now.Add(time.Duration(w.rng.IntN(700)) * time.Millisecond)
	at := w.rng.IntN(len(w.relays))
	own := w.where[len(w.relays)+w.rng.IntN(len(w.where)-len(w.relays))]
	from := own
	if w.power == forgedPackets && w.rng.IntN(3) == 0 {
		from = w.where[w.rng.IntN(len(w.where))]
	}
	index := func() uint32 { return uint32(w.rng.IntN(3)) }
	switch w.rng.IntN(8) {
	case 0:
		if len(w.legs) == 0 {
			return nil
		}
		l := w.legs[w.rng.IntN(len(w.legs))]
		if w.power >= forgedScouts && w.rng.IntN(2) == 0 {
			w.stamp++
			w.relays[l.relay].Hear(w.now, w.where[w.rng.IntN(len(w.where))], request(l.key, w.stamp, w.stamp))
		} else if w.relays[l.relay].bindings[l.id] != nil {
			prove(w.relays[l.relay], w.now, l.id, l.leg, own)
		}
		return nil
	case 1, 2:
		return w.travel(at, from, ready.starts[w.rng.IntN(3)][index()])
	case 3, 4:
		return w.travel(at, from, ready.answers[w.rng.IntN(3)][index()][index()])
	case 5:
		return w.travel(at, from, cookies(index()))
	default:
		return w.travel(at, from, carries(index(), 32))
	}
}

// ready holds the handshake messages that liars send: by receiver, sender index, receiver index.
var ready = func() (r struct {
	starts  [3][3][]byte
	answers [3][3][3][]byte
}) {
	for k, key := range worldKeys {
		for i := range uint32(3) {
			r.starts[k][i] = starts(key, i)
			for j := range uint32(3) {
				r.answers[k][i][j] = answers(key, i, j)
			}
		}
	}
	return r
}()

// Members who lie cannot make a packet go round among honest relays: each way out of a relay that a handshake opens is
// one that it has not gone before. Who can also send WireGuard packets from the address of a relay, past the filters of his
// network, can make data go round, as with wrong routes; that ends in the same way, with the TTL.
func TestNoLoops(t *testing.T) {
	worlds := 100_000
	if os.Getenv("WEAVEWG_SOAK") != "" {
		worlds = 1_000_000
	}
	for can, what := range []string{"honest-senders", "forged-scouts", "forged-packets"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			longest, looped := 0, 0
			for seed := range worlds / 3 {
				w := newWorld(uint64(seed), power(can))
				for range 40 {
					if err := w.act(); err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
				}
				longest = max(longest, w.longest)
				looped += w.looped
			}
			t.Logf("longest way: %d relays; loops that the TTL ended: %d", longest, looped)
		})
	}
}
