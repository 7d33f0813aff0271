package sim

import (
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// Node is one daemon with its core, on its host.
type Node struct {
	world *World
	index int
	addr  netip.Addr
	host  *host

	settings wgmesh.Settings
	notary   topology.Notary
	core     *wgmesh.Core
	run      int // of the daemon: what is under way for an earlier one is lost

	ends    map[wgmesh.SessionID]*end
	routed  map[wgmesh.SessionID]*stream
	streams map[streamKey]*stream
	lastID  wgmesh.SessionID

	tick   timer
	round  timer
	spec   wgmesh.DeviceSpec
	wanted uint64 // generation of spec
	down   bool   // the daemon does not run
	left   bool   // on purpose

	snapshot wgmesh.Snapshot
	state    wgmesh.State
	probes   map[uint16]probe
	turn     int
	seq      uint16

	thaw  time.Time // frozen until then; zero: it runs
	inbox []wgmesh.Event

	steps  int
	spin   int       // steps at one instant
	spinAt time.Time // which
}

const (
	port        = 6783
	payloadMTU  = 1440
	applyTime   = 5 * time.Millisecond
	observeBusy = 250 * time.Millisecond
	observeCalm = 5 * time.Second
)

// control is where the node listens.
func (n *Node) control() netip.AddrPort { return netip.AddrPortFrom(n.addr, port) }

// target is the same as text.
func (n *Node) target() string { return net.JoinHostPort(n.addr.String(), strconv.Itoa(port)) }

// ephemeral is the near end of an outgoing connection.
func (n *Node) ephemeral(connection uint64) netip.AddrPort {
	return netip.AddrPortFrom(n.addr, uint16(32768+connection%28000))
}

func (n *Node) newSession(e *end) wgmesh.SessionID {
	n.lastID++
	n.ends[n.lastID] = e
	return n.lastID
}

func (n *Node) newRouted(s *stream) wgmesh.SessionID {
	n.lastID++
	n.routed[n.lastID] = s
	return n.lastID
}

// newCore makes the core of a run from what the last one persisted.
func (n *Node) newCore() {
	w := n.world
	run := w.bytes32()
	copy(n.settings.Run[:], run[:])
	n.ends, n.routed = map[wgmesh.SessionID]*end{}, map[wgmesh.SessionID]*stream{}
	n.streams, n.probes = map[streamKey]*stream{}, map[uint16]probe{}
	n.inbox, n.wanted, n.snapshot = nil, 0, wgmesh.Snapshot{}
	newKey := func() wgtypes.Key {
		k := w.bytes32()
		k[0] &= 248
		k[31] = k[31]&127 | 64
		return k
	}
	rng := rand.New(rand.NewPCG(w.rng.Uint64(), uint64(n.index)))
	n.core = wgmesh.NewCore(n.settings, n.notary, n.state, rng, newKey, w.clock.now)
}

// boot starts the daemon.
func (n *Node) boot() {
	c := n.world.clock
	run := n.run
	n.tick = timer{clock: c, do: func() {
		if n.run == run {
			n.take(wgmesh.Tick{})
		}
	}}
	n.round = timer{clock: c, do: func() {
		if n.run == run {
			n.reconcile()
		}
	}}
	n.post(wgmesh.AddressesChanged{Addrs: []netip.Addr{n.addr}, MTU: payloadMTU})
	n.round.in(applyTime)
	n.probeAgain(run)
}

// kill ends the daemon without a word: its kernel closes what it had open.
func (n *Node) kill() {
	n.run++
	n.down = true
	for _, id := range slices.Sorted(maps.Keys(n.ends)) {
		n.ends[id].close()
	}
}

func (n *Node) restart(d time.Duration) {
	n.kill()
	n.world.clock.after(d, func() {
		n.down = false
		n.newCore()
		n.boot()
	})
}

// leave takes the node down on purpose: its daemon says so, and its devices go.
func (n *Node) leave() {
	n.left = true
	n.take(wgmesh.Leave{})
	n.kill()
	n.host.slots, n.host.routes = map[wgmesh.Slot]*slot{}, map[netip.Addr]wgmesh.Slot{}
}

// post gives the core an event, after what is being done now.
func (n *Node) post(e wgmesh.Event) {
	run := n.run
	n.world.clock.after(0, func() {
		if n.run == run {
			n.take(e)
		}
	})
}

// take steps the core, or keeps the event while the node is frozen.
func (n *Node) take(e wgmesh.Event) {
	if n.down {
		return
	}
	if n.frozen() {
		if _, ok := e.(wgmesh.Tick); !ok {
			n.inbox = append(n.inbox, e)
		}
		return
	}
	w := n.world
	now := w.clock.now
	if n.spinAt.Equal(now) {
		if n.spin++; n.spin > 5000 {
			w.violate("node %d: 5000 steps at one instant, the last for %T", n.index, e)
			n.down = true
			return
		}
	} else {
		n.spin, n.spinAt = 0, now
	}
	n.steps++
	effects := n.core.Step(now, e)
	w.trace.step(now, n.index, e, effects)
	for _, x := range effects {
		n.perform(x)
	}
	// A core that wants to be called at once is called a little later: real time passes between two steps.
	next := n.core.Next()
	if soon := now.Add(100 * time.Microsecond); next.Before(soon) {
		next = soon
	}
	n.tick.set(next)
	w.checkNode(n)
}

// perform does one effect.
func (n *Node) perform(x wgmesh.Effect) {
	switch x := x.(type) {
	case wgmesh.Dial:
		n.dial(x.Target)
	case wgmesh.OpenRouted:
		n.openRouted(x.Peer)
	case wgmesh.DeliverRouted:
		n.deliver(x.Piece)
	case wgmesh.Send:
		n.send(x)
	case wgmesh.CloseSession:
		if e := n.ends[x.ID]; e != nil {
			e.close()
		} else if s := n.routed[x.ID]; s != nil {
			s.end("closed here")
		}
	case wgmesh.Converge:
		n.spec, n.wanted = x.Spec, x.Generation
		n.world.checkSpec(n, x.Spec)
		n.round.in(applyTime)
	case wgmesh.Publish:
		n.snapshot = x.Snapshot
	case wgmesh.Persist:
		n.state = x.State
	case wgmesh.Note:
		if x.Level >= wgmesh.Warn {
			n.world.notes[x.Code]++
		}
	default:
		n.world.violate("node %d: unknown effect %T", n.index, x)
	}
}

func (n *Node) send(x wgmesh.Send) {
	w := n.world
	w.checkSend(n, x)
	if w.codec {
		b, err := topology.EncodeMessage(x.Message)
		if err == nil {
			x.Message, err = topology.DecodeMessage(b)
		}
		if err != nil {
			w.violate("node %d: a message does not survive the codec: %v", n.index, err)
			return
		}
	}
	w.messages++
	if e := n.ends[x.ID]; e != nil {
		e.send(item{message: x.Message})
	} else if s := n.routed[x.ID]; s != nil {
		s.send(x.Message, false)
	}
}

// reconcile is wgmesh/node's round: observe, diff, apply, observe, tell.
func (n *Node) reconcile() {
	switch {
	case n.down:
		return
	case n.frozen():
		n.round.set(n.thaw)
		return
	}
	seen := wgmesh.Observed{Status: n.host.observe()}
	if n.wanted > 0 {
		if ops := wgmesh.Diff(n.spec, seen.Status); len(ops) > 0 {
			n.host.apply(ops)
			seen.Status = n.host.observe()
			if again := wgmesh.Diff(n.spec, seen.Status); len(again) > 0 {
				n.world.violate("node %d: applied, and still differs by %d steps, the first %+v", n.index, len(again), again[0])
			}
		}
		seen.Applied = n.wanted
	}
	n.take(seen)
	pause := observeCalm
	if n.core.Busy() {
		pause = observeBusy
	}
	n.round.in(pause)
}

func (n *Node) frozen() bool { return n.world.clock.now.Before(n.thaw) }

// frozenUntil is for the data plane, which starves with its host.
func (n *Node) frozenUntil() time.Time {
	if n.frozen() {
		return n.thaw
	}
	return time.Time{}
}

// freeze keeps the node from doing anything for d: its processor is elsewhere. What its kernel took in meanwhile waits.
func (n *Node) freeze(d time.Duration) {
	c := n.world.clock
	n.thaw = c.now.Add(d)
	c.at(n.thaw, func() {
		inbox := n.inbox
		n.inbox = nil
		for _, e := range inbox {
			n.take(e)
		}
		n.take(wgmesh.Tick{})
	})
}
