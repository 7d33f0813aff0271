package wgmesh

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// Core is one node's whole control logic as a state machine: Step takes what happened and returns what to do. It is not
// safe for concurrent use, reads no clock and no randomness but what it is given, and never blocks.
type Core struct {
	settings Settings
	self     topology.NodeID
	notary   topology.Notary
	rng      *rand.Rand
	newKey   func() wgtypes.Key

	now       time.Time
	settledAt time.Time
	effects   []Effect
	wake      time.Time // the earliest time at which something is due; zero: nothing before the next second

	graph      *topology.Graph
	routes     map[topology.NodeID]topology.Route
	present    map[topology.NodeID]time.Time // last time a node could be reached by control
	stale      bool                          // graph changed: routes, links and the rest are to be computed anew
	reroutedAt time.Time
	sessions   map[SessionID]*session
	byNode     map[topology.NodeID]*session
	arrivals   []*session // all, in the order in which they came up
	contacts   contacts
	chosen     []topology.NodeID                     // wanted neighbours, as counted in this settle; nil: not yet
	observed   map[topology.NodeID]topology.Endpoint // what peers say they see of us

	own       topology.Record
	ownSealed topology.Sealed
	ownDirty  time.Time // when the own record began to differ; zero: it does not
	saidAt    time.Time // when it was spread last
	addresses []netip.Addr
	mtu       uint16
	clone     cloneWatch
	left      bool

	slot       ownSlot
	links      map[topology.NodeID]*link
	inOrder    []*link                    // all, in id order; nil: to be sorted anew
	adopted    map[wgtypes.Key]PeerStatus // tunnels of before the restart that no link has claimed yet
	holdUntil  time.Time                  // adopted tunnels are kept at least until then; zero: no session yet
	device     DeviceStatus
	seenDevice bool
	deviceErr  string
	spec       DeviceSpec
	generation uint64
	snapshot   Snapshot
	relink     bool // links changed: spec and snapshot are to be computed anew

	state   State
	savedAt time.Time
	saveBy  time.Time // zero: nothing to save
	saved   bool      // something was, in this run
}

// ownSlot is this node's WireGuard device, slot 0 in this version.
type ownSlot struct {
	private    wgtypes.Key
	public     wgtypes.Key
	generation uint32
	since      time.Time
}

// NewCore makes the core of a node. State is what the last run persisted (zero for a first start); newKey makes a fresh
// WireGuard private key. The first events should be AddressesChanged and Observed: without them it has no key to tell.
func NewCore(s Settings, n topology.Notary, st State, rng *rand.Rand, newKey func() wgtypes.Key, now time.Time) *Core {
	c := &Core{
		settings: s, self: topology.IDOf(s.Key[:]), notary: n, rng: rng, newKey: newKey, now: now,
		graph:    topology.NewGraph(topology.MaxNodes),
		present:  map[topology.NodeID]time.Time{},
		sessions: map[SessionID]*session{},
		byNode:   map[topology.NodeID]*session{},
		observed: map[topology.NodeID]topology.Endpoint{},
		links:    map[topology.NodeID]*link{},
		state:    st,
	}
	c.state.Epoch++
	c.own = topology.Record{Key: s.Key, Run: s.Run, Version: topology.Version{Epoch: c.state.Epoch}}
	c.contacts = newContacts(rng)
	c.loadState()
	c.retarget()
	c.effects = append(c.effects, Persist{c.state}) // the epoch must be on disk before anybody hears it
	return c
}

// Self is the node's id.
func (c *Core) Self() topology.NodeID { return c.self }

// Record is the node's own sealed record, for the hello of a session; empty until the first Observed.
func (c *Core) Record() topology.Sealed { return c.ownSealed }

// Step takes one event at a time that never goes backwards, and returns what to do, in order.
func (c *Core) Step(now time.Time, ev Event) []Effect {
	if now.After(c.now) {
		c.now = now
	}
	wake := c.wake
	c.wake = time.Time{}
	c.handle(ev)
	if c.passing(ev, wake) {
		if !wake.IsZero() {
			c.wakeAt(wake)
		}
	} else {
		c.settledAt = c.now
		c.settle()
	}
	out := c.effects
	c.effects = nil
	return out
}

func (c *Core) handle(ev Event) {
	switch e := ev.(type) {
	case Tick:
	case SessionUp:
		c.sessionUp(e)
	case SessionDown:
		c.sessionDown(e)
	case DialFailed:
		c.dialFailed(e)
	case Received:
		c.received(e)
	case RoutedOut:
		c.route(e.Piece, 0)
	case Observed:
		c.observe(e)
	case Probed:
		c.probed(e)
	case Configured:
		c.configure(e.Settings)
	case Connect:
		c.connect(e.Targets)
	case ForgetTargets:
		c.forgetTargets(e.Targets)
	case ForgetNode:
		c.forgetNode(e.Node)
	case AddressesChanged:
		c.addresses, c.mtu = e.Addrs, e.MTU
		c.touch()
	case Leave:
		c.leave()
	}
}

// passing says that settle has nothing to do for an event, and that it is not due for another reason either: most of
// what a node of a large mesh receives it only answers or passes on. What such events change in sessions and probes can
// wait for the next second.
func (c *Core) passing(ev Event, wake time.Time) bool {
	due := c.settledAt.Add(settleEvery)
	if !wake.IsZero() && wake.Before(due) {
		due = wake
	}
	if !c.wake.IsZero() && c.wake.Before(due) {
		due = c.wake
	}
	if c.relink || !c.now.Before(due) {
		return false
	}
	switch e := ev.(type) {
	case Probed, RoutedOut:
		return true
	case Received:
		m := e.Message
		return m.Ping != nil || m.Pong != nil || m.Routed != nil || m.Records != nil || m.Digest != nil
	}
	return false
}

// settleEvery is how long a core goes without looking at everything.
const settleEvery = time.Second

// Next is when Step wants a Tick at the latest.
func (c *Core) Next() time.Time {
	next := c.settledAt.Add(settleEvery)
	if !c.wake.IsZero() && c.wake.Before(next) {
		next = c.wake
	}
	return next
}

// Busy says that the device should be observed often: a tunnel is being built.
func (c *Core) Busy() bool {
	for _, l := range c.links {
		if l.state == LinkConnecting && l.tunnel.psk != (wgtypes.Key{}) && (!l.tunnel.onDevice || c.now.Sub(l.tunnel.added) < noHandshake) {
			return true
		}
	}
	return false
}

// settle does what follows from whatever the event changed.
func (c *Core) settle() {
	if c.left {
		return
	}
	c.chosen = nil
	c.sayOwn()
	if due := c.rerouteDue(); c.stale && c.now.Before(due) {
		c.wakeAt(due)
	} else if c.stale {
		c.stale, c.reroutedAt = false, c.now
		c.reroute()
		c.relink = true
	}
	c.tendSessions()
	c.tendContacts()
	c.tendLinks()
	if c.relink {
		c.relink = false
		c.converge()
		c.publish()
	}
	c.tendState()
}

func (c *Core) do(e ...Effect) { c.effects = append(c.effects, e...) }

func (c *Core) note(level Level, code string, peer topology.NodeID, text string) {
	c.do(Note{Level: level, Code: code, Peer: c.name(peer), Text: text})
}

// wakeAt asks for a Tick not later than t.
func (c *Core) wakeAt(t time.Time) {
	if c.wake.IsZero() || t.Before(c.wake) {
		c.wake = t
	}
}

// name is what people call a node: its name, or the start of its id while no record says more.
func (c *Core) name(id topology.NodeID) string {
	if id.IsZero() {
		return ""
	}
	if r := c.graph.Get(id); r != nil {
		return r.Name
	}
	return id.Short()
}
