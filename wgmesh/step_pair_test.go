package wgmesh

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// pair is the two ends of one link with all that they meet: a control channel that delivers in order and may end at any
// moment, a device each, and paths that may stop working.
type pair struct {
	fabric
	ends     [2]*end // who leads first
	inbox    [2][]topology.LinkState
	on       SessionID // 0: there is none
	sessions SessionID
	epochs   uint64
	binding  byte
	dark     [][2]wgtypes.Key // tunnels whose path does not work any more
	left     budget
}

// budget is how often a thing may still happen that nobody asked for.
type budget [kinds]int8

type kind int

const (
	lose  kind = iota // a session
	build             // a tunnel on a direct path
	relay             // a tunnel on a relayed path
	cede              // what is being built, given up; or at once for another one
	renew             // the pre-shared key of the tunnel in use
	fail              // the path of the tunnel in use
	kill              // a daemon
	kinds
)

// choice is something that may happen next. A calm world takes the one with the lowest number above zero.
type choice struct {
	name string
	calm int
	does func(*pair) error
}

func newPair() *pair {
	p := &pair{fabric: fabric{
		now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), devices: make([]DeviceStatus, 2),
		lines: []line{{ends: [2]int{0, 1}, addrs: [2]netip.Addr{pairAddress(0), pairAddress(1)}}},
	}}
	for i := range 2 {
		ids := [2]topology.NodeID{{1}, {2}}
		p.ends[i] = &end{self: ids[i], peer: ids[1-i], leads: i == 0, rev: uint64(1000 * (i + 1))}
		for s := range Slot(topology.MaxSlots) {
			key := pairKey(i, s)
			p.devices[i].Slots = append(p.devices[i].Slots, SlotStatus{Slot: s, PrivateKey: key, PublicKey: key, Up: true})
		}
	}
	return p
}

func pairAddress(i int) netip.Addr { return netip.AddrFrom16([16]byte{0xfd, 15: byte(i + 1)}) }

// pairKey is the key of a slot, private and public in one: nobody computes with it.
func pairKey(i int, s Slot) wgtypes.Key { return wgtypes.Key{byte(i + 1), byte(s + 1)} }

func (p *pair) control() *session {
	if p.on == 0 {
		return nil
	}
	return &session{id: p.on, export: [32]byte{byte(p.on)}}
}

// tend does what Core.tendLink does with an end: it moves on, and what is news is told.
func (p *pair) tend(i int) {
	e, s := p.ends[i], p.control()
	if e.leads {
		if s != nil && e.session == s.id {
			e.offers(p.now, s, func() uint64 { p.epochs += 2; return p.epochs })
		}
		e.lead(p.now, modelRTT)
	} else {
		e.follow(p.now)
	}
	if s == nil || e.leads && e.session != s.id {
		return
	}
	state := e.state(p.now, func(Slot) uint16 { return 6783 }, func(*tunnel) []netip.AddrPort { return nil })
	if !e.leads {
		state.Why = e.why
		if e.using != nil && e.using.dead {
			state.Wants = topology.WantTunnel
		}
	}
	if !e.due(p.now, s.id, state) {
		return
	}
	if e.leads && (e.saidOn != s.id || !sameState(e.said, state)) {
		e.rev++
		state.Rev = e.rev
	}
	e.tell(p.now, s.id, state)
	p.inbox[1-i] = append(p.inbox[1-i], state)
}

// deliver gives an end the next message.
func (p *pair) deliver(i int) {
	m := p.inbox[i][0]
	p.inbox[i] = p.inbox[i][1:]
	e := p.ends[i]
	refuse := func(Slot, wgtypes.Key) string { return "" }
	if e.leads {
		e.takeReport(p.now, p.control(), m, refuse)
	} else {
		e.takePlan(p.now, p.control(), m, func(avoid []Slot) (Slot, wgtypes.Key, bool) { return p.pick(i, avoid) }, refuse)
	}
	p.tend(i)
}

// pick is Core.pickSlot where every slot has its key.
func (p *pair) pick(i int, avoid []Slot) (Slot, wgtypes.Key, bool) {
	for s := range Slot(topology.MaxSlots) {
		if !slices.Contains(avoid, s) {
			return s, pairKey(i, s), true
		}
	}
	return 0, wgtypes.Key{}, false
}

// spec is the device as an end wants it.
func (p *pair) spec(i int) DeviceSpec {
	var spec DeviceSpec
	to := pairAddress(1 - i)
	for s := range Slot(topology.MaxSlots) {
		slot := SlotSpec{Slot: s, PrivateKey: pairKey(i, s)}
		for _, t := range p.ends[i].tunnels {
			if t.slot == s && t.wanted() {
				slot.Peers = append(slot.Peers, PeerSpec{Key: t.key, PSK: t.psk.key, Allowed: []netip.Prefix{hostPrefix(to)}})
			}
		}
		spec.Slots = append(spec.Slots, slot)
	}
	if t := p.ends[i].using; t != nil && t.wanted() {
		spec.Routes = []Route{{To: to, Slot: t.slot}}
	}
	return spec
}

// pending says whether a device is not yet what its end wants.
func (p *pair) pending(i int) bool { return len(Diff(p.spec(i), p.devices[i])) > 0 }

// install makes a device what its end wants. A leader comes second: the first handshake is its, and if the follower had
// not the key yet, it would be lost and come again after 5 s.
func (p *pair) install(i int) error {
	before := p.devices[i]
	if err := p.converge(i, p.spec(i)); err != nil || i == 1 {
		return err
	}
	for n, s := range p.devices[i].Slots {
		for _, q := range s.Peers {
			far := p.entry(q.Key, s.PublicKey)
			changed := !slices.ContainsFunc(before.Slots[n].Peers, func(o PeerStatus) bool { return o.Key == q.Key && o.PSK == q.PSK })
			if changed && (far == nil || far.PSK != q.PSK) {
				return errors.New("the leader puts a pre-shared key in place that the follower has not in place")
			}
		}
	}
	return nil
}

// news says whether a look at the device would tell an end something.
func (p *pair) news(i int) bool {
	return slices.ContainsFunc(p.ends[i].tunnels, func(t *tunnel) bool {
		seen := *t
		seen.observe(p.now, p.devices[i])
		return seen.onDevice != t.onDevice || seen.inPlace != t.inPlace || !seen.handshake.Equal(t.handshake)
	})
}

func (p *pair) observe(i int) {
	for _, t := range p.ends[i].tunnels {
		t.observe(p.now, p.devices[i])
	}
	p.tend(i)
}

// disconnect ends the session with all that is under way in it.
func (p *pair) disconnect() {
	p.on, p.inbox = 0, [2][]topology.LinkState{}
	p.tend(0)
	p.tend(1)
}

func (p *pair) connect() {
	p.sessions++
	p.on = p.sessions
	p.tend(0)
	p.tend(1)
}

// begin does what Core.build does.
func (p *pair) begin(path topology.Path) {
	e := p.ends[0]
	if slot, mine, ok := p.pick(0, e.slots()); ok {
		e.begin(p.now, slot, mine, path, path.Kind == topology.PathDirect)
	}
	p.tend(0)
}

func (p *pair) relayed() topology.Path {
	p.binding++
	return topology.Path{Kind: topology.PathRelay, Binding: [16]byte{p.binding}, Via: []topology.NodeID{{9}}}
}

// restart kills a daemon and starts it anew: what its device has is adopted as by Core.adopt, with its path if that was
// written down in time.
func (p *pair) restart(i int, paths bool) {
	old := p.ends[i]
	e := &end{self: old.self, peer: old.peer, leads: old.leads, rev: old.rev + 1<<32}
	if !slices.Equal(p.spec(i).Routes, p.devices[i].Routes) {
		p.lines[0].steady = false // it died between telling where it moves and moving
	}
	for _, s := range p.devices[i].Slots {
		for _, peer := range s.Peers {
			t := &tunnel{
				slot: s.Slot, mine: s.PublicKey, key: peer.Key, keySince: p.now, began: p.now, ready: p.now, eager: true,
				path: topology.Path{Kind: topology.PathDirect}, psk: pskState{key: peer.PSK, install: true},
			}
			if was := old.byMine(s.PublicKey); was != nil && was.key == peer.Key && paths {
				t.path = was.path
			}
			t.observe(p.now, p.devices[i])
			e.tunnels = append(e.tunnels, t)
		}
	}
	for _, t := range e.tunnels {
		if e.using == nil || slices.Contains(p.devices[i].Routes, Route{To: pairAddress(1 - i), Slot: t.slot}) {
			e.using = t
		}
	}
	for _, t := range e.tunnels {
		t.retired = t != e.using
	}
	p.ends[i] = e
	p.disconnect()
}

// next is when an end wants to be called again, as far as it matters here; zero: never.
func (p *pair) next() (at time.Time) {
	e := p.ends[0]
	for _, t := range e.tunnels {
		if t.doomed.After(p.now) && (at.IsZero() || t.doomed.Before(at)) {
			at = t.doomed
		}
	}
	if at.IsZero() && p.on != 0 && e.session == p.on && e.answered != e.rev && len(p.inbox[0])+len(p.inbox[1]) == 0 {
		at = e.saidAt.Add(repeatPlan)
	}
	return at
}

func (p *pair) passes(own, key wgtypes.Key) bool {
	return !slices.Contains(p.dark, [2]wgtypes.Key{own, key}) && !slices.Contains(p.dark, [2]wgtypes.Key{key, own})
}

// take makes a choice and tells which promise it breaks.
func (p *pair) take(c choice) error {
	was, steady := [2]*tunnel{p.ends[0].using, p.ends[1].using}, p.lines[0].steady
	whole := p.ends
	if err := c.does(p); err != nil {
		return err
	}
	p.dark = slices.DeleteFunc(p.dark, func(k [2]wgtypes.Key) bool { // another tunnel on these slots has another path
		t := p.ends[0].byMine(k[0])
		return t == nil || t.key != k[1]
	})
	for i, e := range p.ends {
		if e != whole[i] {
			continue // it was killed
		}
		if err := checkEnd(e, p.ends[1-i], was[i], steady, p.alive); err != nil {
			return fmt.Errorf("%s %w", [...]string{"the leader", "the follower"}[i], err)
		}
	}
	return p.traffic(p.passes, func(_ int, own, key wgtypes.Key) bool { return agreed(p.now, p.ends[0], p.ends[1], own, key) })
}
