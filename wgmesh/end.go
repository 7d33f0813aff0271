package wgmesh

import (
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// end is one end of a link as the tunnel step knows it: its tunnels, and which of them carries. Changing the path and
// changing a key are the same step: another tunnel on other slots is built beside the one in use, both ends see its
// handshake, the route moves, the old one is drained and goes. The leader plans and the follower makes it so; each tells
// the other its whole state whenever that changed. It is a value machine of its own, so that a test can try every order
// of messages, handshakes and losses (step_test.go).
type end struct {
	self, peer topology.NodeID
	leads      bool
	tunnels    []*tunnel
	using      *tunnel // where our route points; nil: nowhere

	session  SessionID // over which the other end spoke last; 0: not in this session
	rev      uint64    // of our plan (leader), of the plan that we follow
	answered uint64    // leader: the plan that the last report answers
	theirUse *tunnel   // leader: what the follower uses
	wants    uint8     // leader: what the follower asks
	why      string    // follower: why something planned is missing; leader: what the follower said
	said     topology.LinkState
	saidOn   SessionID
	saidAt   time.Time
}

// slotPicker chooses a slot of ours that is none of avoid, or says that there is none.
type slotPicker func(avoid []Slot) (slot Slot, public wgtypes.Key, ok bool)

const (
	repeatPlan = 2 * time.Second // a plan without an answer is told again
	drainBase  = 200 * time.Millisecond
)

// slots lists those that the tunnels are on.
func (e *end) slots() []Slot {
	all := make([]Slot, 0, len(e.tunnels))
	for _, t := range e.tunnels {
		all = append(all, t.slot)
	}
	return all
}

func (e *end) byMine(key wgtypes.Key) *tunnel {
	i := slices.IndexFunc(e.tunnels, func(t *tunnel) bool { return t.mine == key })
	if i < 0 {
		return nil
	}
	return e.tunnels[i]
}

func (e *end) byTheirs(key wgtypes.Key) *tunnel {
	i := slices.IndexFunc(e.tunnels, func(t *tunnel) bool { return t.key == key })
	if i < 0 {
		return nil
	}
	return e.tunnels[i]
}

// drop ends a tunnel here.
func (e *end) drop(t *tunnel) {
	e.tunnels = slices.DeleteFunc(e.tunnels, func(o *tunnel) bool { return o == t })
	if e.using == t {
		e.using = nil
	}
	if e.theirUse == t {
		e.theirUse = nil
	}
}

// builds lists the tunnels that are meant to carry and do not yet.
func (e *end) builds() []*tunnel {
	return slices.DeleteFunc(slices.Clone(e.tunnels), func(t *tunnel) bool { return t == e.using || t.retired })
}

// state is what the other end should know. Endpoints are those of our slots, best first.
func (e *end) state(now time.Time, port func(Slot) uint16, endpoints func(*tunnel) []netip.AddrPort) topology.LinkState {
	s := topology.LinkState{Rev: e.rev}
	for i, t := range e.tunnels {
		one := topology.TunnelState{
			Slot: uint8(t.slot), Key: t.mine, Port: port(t.slot), PeerKey: t.key, Stage: t.stage(now),
			Epoch: t.psk.epoch, Path: t.path,
		}
		switch {
		case e.leads && t.psk.offer != nil:
			one.Epoch, one.Check = t.psk.offer.epoch, checkOf(t.psk.offer.key)
		case e.leads || t.inPlace:
			one.Check = checkOf(t.psk.key)
		default:
			one.Epoch = 0 // nothing is in place yet
		}
		if e.leads { // a follower acts on no more than this
			one.Stage = min(one.Stage, topology.StageReady)
			if t.eager {
				one.Stage = topology.StageReady
			}
		}
		if t.path.Kind == topology.PathDirect && !t.live(now) {
			one.Endpoints = endpoints(t)
		}
		if t == e.using {
			s.Use = uint8(i + 1)
		}
		s.Tunnels = append(s.Tunnels, one)
	}
	return s
}

// due says whether a state should be told over a session: when it differs from what was told there last, when a plan is to
// be answered, and when ours was not.
func (e *end) due(now time.Time, on SessionID, s topology.LinkState) bool {
	if e.saidOn != on || !sameState(e.said, s) || !e.leads && e.said.Rev != s.Rev {
		return true // a follower answers every plan
	}
	return e.leads && e.answered != e.rev && now.Sub(e.saidAt) >= repeatPlan
}

// tell books that a state was told.
func (e *end) tell(now time.Time, on SessionID, s topology.LinkState) {
	e.said, e.saidOn, e.saidAt = s, on, now
}

// sameState compares two states but for the number of a plan.
func sameState(a, b topology.LinkState) bool {
	return a.Use == b.Use && a.Wants == b.Wants && a.Why == b.Why && slices.EqualFunc(a.Tunnels, b.Tunnels, sameTunnel)
}

func sameTunnel(a, b topology.TunnelState) bool {
	return a.Slot == b.Slot && a.Key == b.Key && a.Port == b.Port && a.PeerKey == b.PeerKey && a.Stage == b.Stage &&
		a.Epoch == b.Epoch && a.Check == b.Check && slices.Equal(a.Endpoints, b.Endpoints) && a.Path.Kind == b.Path.Kind &&
		a.Path.Binding == b.Path.Binding && a.Path.Stream == b.Path.Stream && slices.Equal(a.Path.Via, b.Path.Via)
}
