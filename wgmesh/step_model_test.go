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

// fabric is the data plane under the tests of the tunnel step: the devices of some nodes, the WireGuard sessions between
// them, and the packets that are under way. A session lives as long as both ends keep the entries that it was made for:
// equal times of the last handshake tell.
type fabric struct {
	now     time.Time
	devices []DeviceStatus
	lines   []line
	flights []flight
}

// line is a link as the fabric sees it: over it both nodes send to each other all the time.
type line struct {
	ends   [2]int        // nodes, who leads first
	addrs  [2]netip.Addr // their overlay addresses
	steady bool          // both used one tunnel that works, and nothing has failed since: no packet may be lost
}

// flight is the last packet that went into a tunnel in one direction. It takes up to oneWay.
type flight struct {
	line     int
	from, to wgtypes.Key
	at       time.Time
}

const (
	oneWay   = 50 * time.Millisecond
	modelRTT = 2 * oneWay
)

// way says whether packets between two slots come through.
type way func(own, key wgtypes.Key) bool

// entry finds the peer entry for a key on the slot that own is the key of.
func (f *fabric) entry(own, key wgtypes.Key) *PeerStatus {
	for _, d := range f.devices {
		for _, s := range d.Slots {
			if s.PublicKey != own {
				continue
			}
			for i := range s.Peers {
				if s.Peers[i].Key == key {
					return &s.Peers[i]
				}
			}
		}
	}
	return nil
}

// towards tells into which tunnel a node's route leads; zero keys: there is no route, or nothing behind it.
func (f *fabric) towards(node int, to netip.Addr) (own, key wgtypes.Key) {
	for _, r := range f.devices[node].Routes {
		if s, ok := findSlot(f.devices[node].Slots, r.Slot); ok && r.To == to {
			for _, p := range s.Peers {
				if slices.Contains(p.Allowed, hostPrefix(to)) {
					return s.PublicKey, p.Key
				}
			}
		}
	}
	return own, key
}

// alive says whether two slots have a session that can carry.
func (f *fabric) alive(own, key wgtypes.Key) bool {
	p, q := f.entry(own, key), f.entry(key, own)
	return p != nil && q != nil && !p.LastHandshake.IsZero() && p.LastHandshake.Equal(q.LastHandshake) &&
		f.now.Sub(p.LastHandshake) < sessionLife
}

// missing lists, by the keys of their slots, the tunnels that both ends have with one pre-shared key, and no session yet.
func (f *fabric) missing() (pairs [][2]wgtypes.Key) {
	for _, d := range f.devices {
		for _, s := range d.Slots {
			for _, p := range s.Peers {
				q := f.entry(p.Key, s.PublicKey)
				if slices.Compare(s.PublicKey[:], p.Key[:]) < 0 && q != nil && q.PSK == p.PSK && !f.alive(s.PublicKey, p.Key) {
					pairs = append(pairs, [2]wgtypes.Key{s.PublicKey, p.Key})
				}
			}
		}
	}
	return pairs
}

// shake makes a session.
func (f *fabric) shake(pair [2]wgtypes.Key) {
	for i := range f.devices {
		f.devices[i] = cloneStatus(f.devices[i])
	}
	f.entry(pair[0], pair[1]).LastHandshake = f.now
	f.entry(pair[1], pair[0]).LastHandshake = f.now
}

// converge makes a node's devices what the spec says, and tells if that loses a packet that is under way.
func (f *fabric) converge(node int, spec DeviceSpec) error {
	f.devices[node] = applyOps(cloneStatus(f.devices[node]), Diff(spec, f.devices[node]))
	for _, p := range f.flights {
		q := f.entry(p.to, p.from)
		if f.now.Sub(p.at) <= oneWay && f.lines[p.line].steady && (q == nil || q.LastHandshake.IsZero()) {
			return fmt.Errorf("line %d: a tunnel goes %v after a packet was sent into it, which takes %v", p.line, f.now.Sub(p.at), oneWay)
		}
	}
	return nil
}

// traffic sends a packet in both directions of every line, and tells if one is lost that may not be. agreed says whether
// the ends of a line use the tunnel between two keys and know that it lives.
func (f *fabric) traffic(passes way, agreed func(line int, own, key wgtypes.Key) bool) error {
	f.flights = slices.DeleteFunc(f.flights, func(p flight) bool { return f.now.Sub(p.at) > oneWay || !f.lines[p.line].steady })
	for i := range f.lines {
		l := &f.lines[i]
		var keys [2][2]wgtypes.Key
		good := true
		for side := range 2 {
			own, key := f.towards(l.ends[side], l.addrs[1-side])
			keys[side] = [2]wgtypes.Key{own, key}
			good = good && own != wgtypes.Key{} && f.alive(own, key)
			if !passes(own, key) {
				good, l.steady = false, false // nobody can help that
			}
			if !good && l.steady {
				return fmt.Errorf("line %d: what %s sends is lost", i, [...]string{"the leader", "the follower"}[side])
			}
		}
		l.steady = l.steady || good && keys[0][0] == keys[1][1] && keys[0][1] == keys[1][0] && agreed(i, keys[0][0], keys[0][1])
		if l.steady {
			f.sent(i, keys[0])
			f.sent(i, keys[1])
		}
	}
	return nil
}

func (f *fabric) sent(line int, keys [2]wgtypes.Key) {
	p := flight{line: line, from: keys[0], to: keys[1], at: f.now}
	if i := slices.IndexFunc(f.flights, func(o flight) bool { return o.from == p.from && o.to == p.to }); i >= 0 {
		f.flights[i] = p
		return
	}
	f.flights = append(f.flights, p)
}

// clone copies all that changes, but for devices: those are replaced.
func (f *fabric) clone() fabric {
	c := *f
	c.devices, c.lines, c.flights = slices.Clone(f.devices), slices.Clone(f.lines), slices.Clone(f.flights)
	return c
}

func cloneStatus(s DeviceStatus) DeviceStatus {
	s.Slots, s.Routes = slices.Clone(s.Slots), slices.Clone(s.Routes)
	for i := range s.Slots {
		s.Slots[i].Peers = slices.Clone(s.Slots[i].Peers)
		for j := range s.Slots[i].Peers {
			s.Slots[i].Peers[j].Allowed = slices.Clone(s.Slots[i].Peers[j].Allowed)
		}
	}
	return s
}

// agreed says whether two ends use the tunnel between two keys and know that it lives.
func agreed(now time.Time, a, b *end, own, key wgtypes.Key) bool {
	t := a.using
	return t != nil && t.mine == own && t.key == key && t.sound(now) && b.using != nil && b.using.sound(now) &&
		farOf(t, b) == b.using
}

// farOf is what the other end has of a tunnel.
func farOf(t *tunnel, other *end) *tunnel {
	far := other.byMine(t.key)
	if far == nil || far.key != t.mine {
		return nil
	}
	return far
}

// checkEnd holds an end against what is promised of it, after a step before which it used was; steady as of a line.
func checkEnd(e, other *end, was *tunnel, steady bool, alive way) error {
	if len(e.tunnels) > topology.MaxSlots {
		return errors.New("has more tunnels than there are slots")
	}
	for n, t := range e.tunnels {
		if slices.ContainsFunc(e.tunnels[:n], func(o *tunnel) bool { return o.slot == t.slot }) {
			return errors.New("has two tunnels on one slot")
		}
		if far := farOf(t, other); far != nil && !unheard(t) && !unheard(far) && !onePath(t, far) {
			return fmt.Errorf("means another path by a tunnel than the other end does: %v, %v", t.path, far.path)
		}
	}
	t := e.using
	if steady && was != nil && !slices.Contains(e.tunnels, was) && (t == nil || !alive(t.mine, t.key)) {
		return errors.New("drops the tunnel in use while no other lives")
	}
	if t == nil || t == was || alive(t.mine, t.key) {
		return nil
	}
	far := farOf(t, other)
	moves := was != nil && slices.Contains(e.tunnels, was) // else it is the first of all, or the last one left
	switch {
	case far == nil && moves:
		return errors.New("moves to a tunnel that the other end has not")
	case far == nil, !moves && far.psk.offer != nil: // it waits for a handshake, and so for the news
	case !sameSecret(t, far) && !sameSecret(far, t):
		return errors.New("begins to use a tunnel for which the other end has another key")
	}
	return nil
}

// unheard says whether a tunnel is from before a restart, and the other end has not spoken of it yet: its path may be
// forgotten.
func unheard(t *tunnel) bool { return t.psk.key != (wgtypes.Key{}) && t.psk.epoch == 0 }

func onePath(a, b *tunnel) bool {
	return a.path.Kind == b.path.Kind && a.path.Binding == b.path.Binding
}

// sameSecret says whether b has the pre-shared key that a has or offers.
func sameSecret(a, b *tunnel) bool {
	return a.psk.key == b.psk.key || a.psk.offer != nil && a.psk.offer.key == b.psk.key
}

// sketch tells people what an end has.
func sketch(e *end, now time.Time) (text string) {
	for _, t := range e.tunnels {
		text += fmt.Sprintf(" [slot %d to %d, kind %d", t.slot, t.peerSlot, t.path.Kind)
		for _, w := range []struct {
			word string
			is   bool
		}{
			{" used", t == e.using}, {" used there", t == e.theirUse}, {" retired", t.retired}, {" ready", !t.ready.IsZero()},
			{" wanted", t.wanted()}, {" built", t.onDevice}, {" live", t.live(now)}, {" dead", t.dead}, {" alive there", t.theirStage == topology.StageAlive},
			{" offered", t.psk.offer != nil}, {" agreed", !t.psk.since.IsZero()},
		} {
			if w.is {
				text += w.word
			}
		}
		text += "]"
	}
	return text
}
