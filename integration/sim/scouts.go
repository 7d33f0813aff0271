package sim

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/crypto/blake2s"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
	"github.com/weavewg/weavewg/wgmesh/relay"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

const relayPort = port + topology.RelayOffset

// scout carries out a Scout.
func (n *Node) scout(x wgmesh.Scout) {
	b := n.desk.Ask(n.world.clock.now, x.Key, x.Message)
	for _, to := range x.To {
		n.world.datagram(n, x.Port, to, datagram{scout: b})
	}
}

// arrives takes a datagram from the underlay: the relay has a port of its own, scouts are for the daemon, the rest is
// WireGuard's.
func (n *Node) arrives(from netip.AddrPort, at uint16, d datagram) {
	switch {
	case at == relayPort && !n.down && !n.frozen():
		n.relays(from, d)
	case d.scout != nil && !n.down && !n.frozen():
		n.hears(from, at, d.scout)
	case d.scout == nil:
		for _, s := range n.host.slots {
			if s.port == at {
				s.dev.receive(from, d)
				return
			}
		}
	}
}

// hears is what the edge does with a scout at a slot's port.
func (n *Node) hears(from netip.AddrPort, at uint16, b []byte) {
	answer, m, ok := n.desk.Hear(n.world.clock.now, from, b)
	switch {
	case !ok:
	case m.Kind == scout.Request:
		n.world.datagram(n, at, from, datagram{scout: answer})
		n.post(wgmesh.ScoutHeard{Tag: m.Tag, Port: at, From: from})
	default:
		n.post(wgmesh.ScoutAnswered{From: from, Message: m})
	}
}

// forward carries out a Relay.
func (n *Node) forward(x wgmesh.Relay) {
	b := relay.Binding{ID: x.ID, Owner: x.Owner, Expires: x.Expires}
	for i, leg := range x.Legs {
		b.Legs[i] = relay.Leg{Node: leg.Node, Key: leg.Key, Scout: leg.Scout}
	}
	if err := n.relay.Bind(n.world.clock.now, b); err != nil {
		n.world.violate("node %d: relay: %v", n.index, err)
		return
	}
	for i, leg := range x.Legs {
		if key := (calling{x.ID, i}); len(leg.Call) > 0 && !n.calling[key] && !n.proven(x.ID, i) {
			n.calling[key] = true
			n.call(n.run, key, leg.Call, 100*time.Millisecond)
		}
	}
}

// calling is a leg whose other relay is being asked to prove where it is.
type calling struct {
	id  relay.ID
	leg int
}

func (n *Node) proven(id relay.ID, leg int) bool {
	all := n.relay.Bindings()
	i := slices.IndexFunc(all, func(s relay.Status) bool { return s.ID == id })
	return i >= 0 && !all[i].Heard[leg].IsZero()
}

// call asks another relay until that answers.
func (n *Node) call(run int, c calling, to []netip.AddrPort, pause time.Duration) {
	w := n.world
	if n.run != run {
		return
	}
	if n.proven(c.id, c.leg) || pause >= 5*time.Second {
		delete(n.calling, c)
		return
	}
	for _, a := range to {
		n.ask(c.id, c.leg, a)
	}
	w.clock.after(pause, func() { n.call(run, c, to, 2*pause) })
}

// ask sends a question of the relay to a leg.
func (n *Node) ask(id relay.ID, leg int, to netip.AddrPort) {
	if b := n.relay.Register(n.world.clock.now, id, leg, n.world.rng.Uint64()); b != nil {
		n.world.datagram(n, relayPort, to, datagram{scout: b})
	}
}

// relays is what the forwarder does with a datagram at the relay's port.
func (n *Node) relays(from netip.AddrPort, d datagram) {
	w := n.world
	if d.scout != nil {
		answer, r := n.relay.Hear(w.clock.now, from, d.scout)
		if answer != nil {
			w.datagram(n, relayPort, from, datagram{scout: answer})
		}
		if r != nil && r.Ask {
			n.ask(r.ID, r.Leg, r.Addr)
		}
		return
	}
	to, why := n.relay.Packet(w.clock.now, from, d.wire())
	if why != relay.Forwarded {
		return
	}
	if d.hops++; d.hops > topology.MaxVia {
		w.violate("node %d forwards a packet for the %dth time", n.index, d.hops)
		return
	}
	n.forwarded++
	w.datagram(n, relayPort, to, d)
}

// wire is as much of the datagram's bytes as a relay looks at: type, indices, mac1 (WireGuard whitepaper, 5.4).
func (d datagram) wire() []byte {
	var b []byte
	index := func(at int, v uint64) { binary.LittleEndian.PutUint32(b[at:], uint32(v)) }
	switch {
	case d.initiation != nil:
		b = make([]byte, 148)
		b[0] = 1
		index(4, d.initiation.index)
		copy(b[116:132], mac1(d.initiation.receiver, b[:116]))
	case d.response != nil:
		b = make([]byte, 92)
		b[0] = 2
		index(4, d.response.index)
		index(8, d.response.receiver)
	case d.transport != nil:
		b = make([]byte, 32)
		b[0] = 4
		index(4, d.transport.receiver)
	}
	return b
}

func mac1(receiver [32]byte, message []byte) []byte {
	key := blake2s.Sum256(append([]byte("mac1----"), receiver[:]...))
	mac, err := blake2s.New128(key[:])
	if err != nil {
		return make([]byte, blake2s.Size128) // never: a key of 32 bytes is one
	}
	mac.Write(message)
	return mac.Sum(nil)
}
