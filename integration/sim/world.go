package sim

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

const mesh = "sim"

// World is a mesh and all it lives on.
type World struct {
	Seed  uint64
	Nodes []*Node

	clock *clock
	rng   *rand.Rand
	net   *underlay
	trace trace
	codec bool // every message goes through topology's codec

	byAddr map[netip.Addr]*Node
	byID   map[topology.NodeID]*Node
	// forgotten holds whom Forget named: of nobody else may a node say that it is to be forgotten.
	forgotten map[topology.NodeID]bool
	indices   uint64 // of WireGuard sessions
	made      uint64 // connections
	messages  int
	notes     map[string]int // of level warn and above, by code

	violations []string
}

// Options of a World. Zero is good.
type Options struct {
	// Identity makes the key and the notary of a node; nil: cheap ones.
	Identity func(i int) ([32]byte, topology.Notary)
	// Targets lists the nodes that node i dials; nil: everybody but the first dials the first.
	Targets func(i int) []int
	// Copies names nodes that run with a copy of another one's identity: copy to original, which has the lower index.
	Copies map[int]int
	// Codec sends every message through topology's encoder and decoder.
	Codec bool
}

// New makes n nodes, which start within the first half second.
func New(seed uint64, n int, o Options) *World {
	w := &World{
		Seed: seed, clock: newClock(), rng: rand.New(rand.NewPCG(seed, 0x5eed)), net: newUnderlay(), codec: o.Codec,
		byAddr: map[netip.Addr]*Node{}, byID: map[topology.NodeID]*Node{}, forgotten: map[topology.NodeID]bool{}, notes: map[string]int{},
	}
	opened := map[[32]byte]*topology.Record{}
	if o.Identity == nil {
		o.Identity = func(int) ([32]byte, topology.Notary) {
			key := w.bytes32()
			return key, cheapNotary{key: key, opened: opened}
		}
	}
	if o.Targets == nil {
		o.Targets = func(i int) []int {
			if i == 0 {
				return nil
			}
			return []int{0}
		}
	}
	for i := range n {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}).Next()
		w.Nodes = append(w.Nodes, &Node{world: w, index: i, addr: addr})
		w.byAddr[addr] = w.Nodes[i]
		w.net.places[addr] = place{w.rng.Float64(), w.rng.Float64()}
	}
	for i, node := range w.Nodes {
		w.start(i, node, o)
	}
	return w
}

// start gives a node its core and the time of its boot.
func (w *World) start(i int, n *Node, o Options) {
	n.settings = wgmesh.Settings{
		Mesh: mesh, Name: fmt.Sprintf("n%03d", i), Software: "sim", Port: port,
		Networks: []wgmesh.NetworkSettings{{NetworkRef: topology.NetworkRef{Name: "default", VNI: 1}}},
	}
	if original, ok := o.Copies[i]; ok {
		n.settings.Key, n.notary = w.Nodes[original].settings.Key, w.Nodes[original].notary
	} else {
		n.settings.Key, n.notary = o.Identity(i)
	}
	for _, t := range o.Targets(i) {
		n.settings.Targets = append(n.settings.Targets, w.Nodes[t].target())
	}
	n.host = newHost(n)
	n.newCore()
	w.byID[n.core.Self()] = n
	w.clock.after(time.Duration(w.rng.Int64N(int64(500*time.Millisecond))), n.boot)
}

func (w *World) bytes32() [32]byte {
	return sha256.Sum256(binary.BigEndian.AppendUint64(nil, w.rng.Uint64()))
}

// Now is the virtual time since the start.
func (w *World) Now() time.Duration { return w.clock.now.Sub(start) }

// Run lets d pass, and checks what must hold every second.
func (w *World) Run(d time.Duration) {
	end := w.clock.now.Add(d)
	for w.clock.now.Before(end) && len(w.violations) == 0 {
		second := w.clock.now.Truncate(time.Second).Add(time.Second)
		if second.After(end) {
			second = end
		}
		for w.clock.step(second) {
			if len(w.violations) > 0 {
				return
			}
		}
		w.checkAll()
	}
}

// Until runs until cond holds, looking every step, at most limit long. It returns how long it took.
func (w *World) Until(limit, step time.Duration, cond func() bool) (time.Duration, bool) {
	began := w.clock.now
	for !cond() {
		if w.clock.now.Sub(began) >= limit || len(w.violations) > 0 {
			return w.clock.now.Sub(began), false
		}
		w.Run(step)
	}
	return w.clock.now.Sub(began), true
}

// listener is who answers at a target.
func (w *World) listener(target string) *Node {
	a, err := netip.ParseAddrPort(target)
	if err != nil || a.Port() != port {
		return nil
	}
	return w.byAddr[a.Addr()]
}

// datagram carries one over the underlay, or loses it.
func (w *World) datagram(from, to netip.AddrPort, d datagram) {
	n := w.byAddr[to.Addr()]
	if n == nil || w.net.blocked(from.Addr(), to.Addr()) {
		return
	}
	w.clock.after(w.net.delay(from.Addr(), to.Addr()), func() {
		for _, s := range n.host.slots {
			if s.port == to.Port() {
				s.dev.receive(from, d)
				return
			}
		}
	})
}

// Partition splits the nodes: those for which far says so are on the other side.
func (w *World) Partition(far func(i int) bool) {
	for i, n := range w.Nodes {
		w.net.side[n.addr] = 0
		if far(i) {
			w.net.side[n.addr] = 1
		}
	}
}

// Heal ends a partition.
func (w *World) Heal() { clear(w.net.side) }

// Cut blocks a pair of nodes, in both directions.
func (w *World) Cut(i, j int) { w.net.cut(w.Nodes[i].addr, w.Nodes[j].addr) }

// Freeze starves a node for d.
func (w *World) Freeze(i int, d time.Duration) { w.Nodes[i].freeze(d) }

// Restart kills a node's daemon, and starts it again after d. Its host goes on without it.
func (w *World) Restart(i int, d time.Duration) { w.Nodes[i].restart(d) }

// Amnesia makes a node's next run start without what the last one persisted.
func (w *World) Amnesia(i int) { w.Nodes[i].state = wgmesh.State{} }

// Leave takes a node down on purpose.
func (w *World) Leave(i int) { w.Nodes[i].leave() }

// Forget asks node i to have node j forgotten by all.
func (w *World) Forget(i, j int) {
	id := w.Nodes[j].core.Self()
	w.forgotten[id] = true
	w.Nodes[i].post(wgmesh.ForgetNode{Node: id})
}

// Return starts a node again that was taken down.
func (w *World) Return(i int) {
	w.Nodes[i].left = false
	w.Nodes[i].restart(0)
}
