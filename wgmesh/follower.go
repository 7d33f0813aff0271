package wgmesh

import (
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// takePlan takes in what the leader plans: tunnels that are not in it go, new ones get a slot of ours, keys are derived
// and put in place. refuse says why a key cannot be the peer's.
func (e *end) takePlan(now time.Time, s *session, plan topology.LinkState, pick slotPicker, refuse func(Slot, wgtypes.Key) string) {
	e.session, e.rev, e.why, e.theirUse = s.id, plan.Rev, "", nil
	for _, t := range slices.Clone(e.tunnels) {
		if !slices.ContainsFunc(plan.Tunnels, func(o topology.TunnelState) bool { return wgtypes.Key(o.Key) == t.key }) {
			e.drop(t)
		}
	}
	for i, their := range plan.Tunnels {
		t := e.byTheirs(their.Key)
		if t != nil && t.replaced(their) {
			e.drop(t)
			t = nil
		}
		if t == nil {
			t = e.join(now, their, pick, refuse)
		}
		if t == nil || their.PeerKey != [32]byte{} && wgtypes.Key(their.PeerKey) != t.mine {
			if t != nil {
				e.drop(t) // our slot was made anew: the leader plans another one
			}
			continue
		}
		if their.PeerKey != [32]byte{} { // the leader has heard what we remember, and we may have forgotten the path in a restart
			t.path = their.Path
			t.path.Stream = false
		}
		t.peerSlot, t.peerPort = their.Slot, their.Port
		t.theirStage, t.theirEndpoints, t.theirStream = their.Stage, their.Endpoints, their.Path.Stream
		e.takeOffer(now, s, t, their)
		if int(plan.Use) == i+1 {
			e.theirUse = t
		}
	}
	e.follow(now)
}

// replaced says whether a planned tunnel is another one than t, begun on the slot of the leader's that t was on: its path is
// another, or the leader has yet to hear of a slot of ours, which it knew of t as soon as there was a key.
func (t *tunnel) replaced(their topology.TunnelState) bool {
	return their.PeerKey == [32]byte{} &&
		(t.psk.key != (wgtypes.Key{}) || t.path.Kind != their.Path.Kind || t.path.Binding != their.Path.Binding)
}

// join makes our side of a planned tunnel.
func (e *end) join(now time.Time, their topology.TunnelState, pick slotPicker, refuse func(Slot, wgtypes.Key) string) *tunnel {
	if their.Key == [32]byte{} {
		return nil // a leader has chosen
	}
	if their.PeerKey != [32]byte{} {
		e.why = "it names a slot of ours that is gone"
		return nil
	}
	slot, mine, ok := pick(e.slots())
	if !ok {
		e.why = "no slot is free for another tunnel"
		return nil
	}
	if why := refuse(slot, their.Key); why != "" {
		e.why = why
		return nil
	}
	path := their.Path
	path.Stream = false // that is the leader's way
	t := &tunnel{slot: slot, mine: mine, key: their.Key, keySince: now, path: path, began: now}
	e.tunnels = append(e.tunnels, t)
	return t
}

// takeOffer derives the key that the leader names, unless it is in place.
func (e *end) takeOffer(now time.Time, s *session, t *tunnel, their topology.TunnelState) {
	switch {
	case their.Epoch == t.psk.epoch && (t.psk.epoch != 0 || their.Check == checkOf(t.psk.key)):
	case their.Check == checkOf(t.psk.key) && t.psk.key != (wgtypes.Key{}):
		t.psk.epoch = their.Epoch // from before our restart
	case their.Epoch != 0:
		t.psk = pskState{key: derivePSK(s.export, e.peer, e.self, t.key, t.mine, their.Epoch), epoch: their.Epoch, since: now, install: t.psk.install}
		t.inPlace = false
	}
}

// follow puts in place what can be, and moves the use where the leader wants it as soon as we see that tunnel alive.
func (e *end) follow(now time.Time) {
	for _, t := range e.tunnels {
		if t.psk.key != (wgtypes.Key{}) && (t.path.Kind == topology.PathDirect || !t.ready.IsZero()) {
			t.psk.install = true
		}
	}
	if e.using == nil {
		if i := slices.IndexFunc(e.tunnels, (*tunnel).wanted); i >= 0 {
			e.using = e.tunnels[i]
			e.using.retired = false
		}
	}
	if t := e.theirUse; t != nil && t != e.using && slices.Contains(e.tunnels, t) && (t.live(now) || e.using == nil) {
		if e.using != nil {
			e.using.retired = true
		}
		e.using = t
		t.retired = false
	}
}
