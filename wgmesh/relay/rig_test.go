package relay

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/crypto/blake2s"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

var (
	start  = time.Unix(1_000_000, 0)
	alpha  = netip.MustParseAddrPort("192.0.2.1:6783")
	beta   = netip.MustParseAddrPort("192.0.2.2:6784")
	gamma  = netip.MustParseAddrPort("[2001:db8::3]:6786")
	stray  = netip.MustParseAddrPort("198.51.100.9:9")
	keyA   = [32]byte{'a'}
	keyB   = [32]byte{'b'}
	keyC   = [32]byte{'c'}
	theirs = topology.NodeID{'o'}
)

// pair makes a binding of two slots, by its number.
func pair(n byte, one, two [32]byte) Binding {
	leg := func(i byte, key [32]byte) Leg {
		return Leg{Node: topology.NodeID{n, i}, Key: key, Scout: scout.DeriveKey([32]byte{n, i}, nil)}
	}
	return Binding{ID: ID{n}, Owner: theirs, Legs: [2]Leg{leg(0, one), leg(1, two)}, Expires: start.Add(24 * time.Hour)}
}

// at is a pair with known addresses.
func at(b Binding, one, two netip.AddrPort) Binding {
	b.Legs[0].Addr, b.Legs[1].Addr = one, two
	return b
}

// putMAC1 is mac1 as the whitepaper has it, 5.4.4.
func putMAC1(p []byte, receiver [32]byte) []byte {
	key := blake2s.Sum256([]byte("mac1----" + string(receiver[:])))
	h, _ := blake2s.New128(key[:])
	h.Write(p[:len(p)-32])
	copy(p[len(p)-32:], h.Sum(nil))
	return p
}

func starts(to [32]byte, sender uint32) []byte {
	p := make([]byte, 148)
	p[0] = 1
	binary.LittleEndian.PutUint32(p[4:], sender)
	return putMAC1(p, to)
}

func answers(to [32]byte, sender, receiver uint32) []byte {
	p := make([]byte, 92)
	p[0] = 2
	binary.LittleEndian.PutUint32(p[4:], sender)
	binary.LittleEndian.PutUint32(p[8:], receiver)
	return putMAC1(p, to)
}

func cookies(receiver uint32) []byte {
	p := make([]byte, 64)
	p[0] = 3
	binary.LittleEndian.PutUint32(p[4:], receiver)
	return p
}

func carries(receiver uint32, size int) []byte {
	p := make([]byte, size)
	p[0] = 4
	binary.LittleEndian.PutUint32(p[4:], receiver)
	return p
}

func request(k scout.Key, tx, counter uint64) []byte {
	return scout.Encode(k, scout.Message{Kind: scout.Request, Tx: tx, Counter: counter})
}

// prove lets a leg register and answer at an address, as an end does.
func prove(t *Table, now time.Time, id ID, leg int, from netip.AddrPort) *Registered {
	question, err := scout.Decode(t.bindings[id].Legs[leg].Scout, t.Register(now, id, leg, uint64(1<<40+t.bindings[id].legs[leg].asks)))
	if err != nil {
		return nil
	}
	_, r := t.Hear(now, from, scout.Encode(t.bindings[id].Legs[leg].Scout, question.Answered(stray)))
	return r
}

// consistent says what is wrong inside a table.
func consistent(t *Table) error {
	sides, routes := 0, 0
	owners := map[topology.NodeID]int{}
	for id, b := range t.bindings {
		owners[b.Owner]++
		if b.ID != id {
			return fmt.Errorf("binding %s under %s", b.ID, id)
		}
		for i, l := range b.Legs {
			if t.tags[l.Scout.Tag] != (side{b, i}) {
				return fmt.Errorf("binding %s: the tag of leg %d leads elsewhere", id, i)
			}
			if !l.Addr.IsValid() {
				continue
			}
			sides++
			p := t.places[l.Addr]
			if p == nil || !slices.ContainsFunc(p.groups, func(g *group) bool {
				return g.receiver == b.Legs[1-i].Key && slices.Contains(g.sides, side{b, i})
			}) {
				return fmt.Errorf("binding %s: leg %d is not at its place", id, i)
			}
		}
		count := map[bool]int{}
		for _, f := range b.flows {
			if f.b != b {
				return fmt.Errorf("binding %s: a flow of another", id)
			}
			count[f.open]++
			for leg := range 2 {
				if !f.has(leg) {
					continue
				}
				routes++
				if t.routes[f.key(leg)] != &f.routes[leg] {
					return fmt.Errorf("binding %s: a flow without its route from leg %d", id, leg)
				}
				if r := f.routes[leg]; r.flow != f || r.leg != leg || r.to != b.Legs[1-leg].Addr || r.to == b.Legs[leg].Addr {
					return fmt.Errorf("binding %s: a wrong route %+v", id, r)
				}
			}
		}
		if count[true] > t.limits.Flows || count[false] > maxPending {
			return fmt.Errorf("binding %s: %v flows", id, count)
		}
	}
	if len(t.tags) != 2*len(t.bindings) || len(t.routes) != routes || len(t.strays) > routes {
		return fmt.Errorf("%d bindings, %d tags; %d routes, want %d; %d strays", len(t.bindings), len(t.tags), len(t.routes), routes, len(t.strays))
	}
	for a, p := range t.places {
		n := 0
		for _, g := range p.groups {
			n += len(g.sides)
		}
		if n == 0 || n != p.legs {
			return fmt.Errorf("place %s: %d legs, counts %d", a, n, p.legs)
		}
		sides -= n
	}
	if sides != 0 {
		return errors.New("legs at places that they are not registered at")
	}
	for o, n := range t.owners {
		if owners[o] != n {
			return fmt.Errorf("owner %s: %d bindings, counts %d", o.Short(), owners[o], n)
		}
	}
	return nil
}
