package wgmesh

import (
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// begin plans another tunnel. The caller has picked a slot that no other tunnel of the link is on.
func (e *end) begin(now time.Time, slot Slot, mine wgtypes.Key, path topology.Path, eager bool) {
	e.tunnels = append(e.tunnels, &tunnel{slot: slot, mine: mine, path: path, plan: e.rev + 1, began: now, eager: eager})
}

// takeReport takes in what the follower says. known tells our own public key of a slot that the device has, so that tunnels
// from before a restart of ours are recognised; refuse says why a key cannot be the peer's.
func (e *end) takeReport(now time.Time, s *session, r topology.LinkState, refuse func(Slot, wgtypes.Key) string) {
	e.session, e.answered, e.wants, e.why = s.id, r.Rev, r.Wants, r.Why
	e.theirUse = nil
	for i, their := range r.Tunnels {
		t := e.byMine(their.PeerKey)
		if t == nil || t.key == (wgtypes.Key{}) && (r.Rev < t.plan || r.Rev > e.rev) {
			continue // we do not plan it, but at most another one on its slot: our next plan says so
		}
		e.takeTunnel(now, t, their, refuse)
		if int(r.Use) == i+1 {
			e.theirUse = t
		}
	}
	if r.Rev != e.rev {
		return
	}
	for _, t := range slices.Clone(e.tunnels) { // a follower that has seen the plan and leaves a tunnel out cannot have it
		if !slices.ContainsFunc(r.Tunnels, func(o topology.TunnelState) bool { return wgtypes.Key(o.PeerKey) == t.mine }) {
			e.drop(t)
		}
	}
}

// takeTunnel takes in one tunnel of a report.
func (e *end) takeTunnel(now time.Time, t *tunnel, their topology.TunnelState, refuse func(Slot, wgtypes.Key) string) {
	key := wgtypes.Key(their.Key)
	if key != t.key {
		if t.key != (wgtypes.Key{}) || key == (wgtypes.Key{}) {
			e.drop(t) // its slot was made anew over there: the key that we know is gone
			return
		}
		if why := refuse(t.slot, key); why != "" {
			e.why = why
			e.drop(t)
			return
		}
		t.key, t.keySince = key, now
	}
	t.peerSlot, t.peerPort = their.Slot, their.Port
	t.theirStage, t.theirEndpoints, t.theirStream = their.Stage, their.Endpoints, their.Path.Stream
	if t.plan == 0 && their.Path.Kind == topology.PathRelay {
		t.path = their.Path // from before our restart: the follower remembers
		t.path.Stream = false
	}
	offer := t.psk.offer
	switch {
	case offer != nil && their.Check == checkOf(offer.key):
		t.psk = pskState{key: offer.key, epoch: offer.epoch, since: now, install: t.psk.install}
	case offer == nil && their.Check == checkOf(t.psk.key) && t.psk.key != (wgtypes.Key{}):
		if t.psk.since.IsZero() {
			t.psk.since = now
		}
		if t.psk.epoch == 0 {
			t.psk.epoch = their.Epoch
		}
	case offer == nil && their.Stage >= topology.StageBuilt:
		t.psk.since = time.Time{} // the ends hold different keys: offer anew
	}
}

// offers makes the offers of keys that are due over a session.
func (e *end) offers(now time.Time, s *session, epoch func() uint64) {
	for _, t := range e.tunnels {
		if t.key == (wgtypes.Key{}) || t.retired {
			continue
		}
		if o := t.psk.offer; o != nil && o.session == s.id {
			continue
		}
		fresh := t.psk.offer == nil && !t.psk.since.IsZero() && now.Sub(t.psk.since) < pskLifetime
		if fresh || !e.mayOffer(t) {
			continue
		}
		o := &pskOffer{epoch: epoch() | 1, session: s.id}
		o.key = derivePSK(s.export, e.self, e.peer, t.mine, t.key, o.epoch)
		t.psk.offer = o
	}
}

// mayOffer says whether a tunnel is worth a key: a way for it is known, or its first handshake is how one is found.
func (e *end) mayOffer(t *tunnel) bool {
	return t.eager || !t.ready.IsZero() || t.onDevice || t.theirStage >= topology.StageReady
}

// lead moves the plan on: puts tunnels in place that the follower is ready for, moves the use to a new one as soon as both
// ends see it alive, lets the old one go once both have moved and its last packets had the time to arrive. It returns
// when it wants to be called again; zero: only after news.
func (e *end) lead(now time.Time, rtt time.Duration) (wake time.Time) {
	for _, t := range e.tunnels {
		if t.psk.key == (wgtypes.Key{}) || t.psk.install {
			continue
		}
		// The follower has it in place, with its part of the path: our handshake will be answered.
		t.psk.install = t.theirStage >= topology.StageBuilt && (t.path.Kind == topology.PathDirect || !t.ready.IsZero())
	}
	e.chooseUse(now)
	if e.using == nil || e.theirUse != e.using || e.answered != e.rev || !e.toldUse() {
		return time.Time{}
	}
	for _, t := range slices.Clone(e.tunnels) {
		if !t.retired {
			continue
		}
		if t.doomed.IsZero() {
			t.doomed = now.Add(2*rtt + drainBase)
		}
		if !now.Before(t.doomed) {
			e.drop(t)
		} else if wake.IsZero() || t.doomed.Before(wake) {
			wake = t.doomed
		}
	}
	return wake
}

// toldUse says whether the last plan that was told moves the follower to the tunnel in use: a follower that reports that
// tunnel of its own accord may still be about to follow an older plan to another.
func (e *end) toldUse() bool {
	i := int(e.said.Use) - 1
	return i >= 0 && wgtypes.Key(e.said.Tunnels[i].Key) == e.using.mine
}

// chooseUse moves the use to a tunnel that was built to take over, once both ends see it alive; the first of all is used
// at once, so that what is sent before its handshake waits in it.
func (e *end) chooseUse(now time.Time) {
	for _, t := range e.tunnels {
		switch {
		case t == e.using || t.retired:
		case t.standby && e.using.carries(now):
		case e.using == nil && t.wanted(),
			t.sound(now) && t.theirStage == topology.StageAlive:
			if e.using != nil {
				e.using.retired = true
			}
			e.using = t
		}
	}
}
