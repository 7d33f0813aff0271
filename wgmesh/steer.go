package wgmesh

import (
	"fmt"
	"slices"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// How long a way is tried, and how the next one is chosen. A relay is tried as soon as a direct path is not there at once,
// and direct paths are looked for as long as there is none.
const (
	relayPatience  = time.Second      // a first direct tunnel has so long before a relay is asked as well
	searchPatience = 5 * time.Second  // for scouts that look for a direct path
	buildPatience  = 12 * time.Second // for a handshake: two tries of WireGuard
	bindPatience   = 6 * time.Second  // for a binding, registration and handshake by relays
	directPause    = time.Second      // after a search that found nothing; the first searches leave no more between them,
	promptSearches = 8                // so that a way that opens is used within three seconds; then it doubles
	maxDirectPause = 20 * time.Second // so that UDP that is open again is used within half a minute
	relayPause     = time.Second      // likewise, for relays
	maxRelayPause  = 10 * time.Second //
	badRelay       = 20 * time.Second // a relay whose path died is not asked again so soon, unless there is no other
	askPause       = 500 * time.Millisecond
	renewPause     = 15 * time.Second // after a try to move a tunnel to a new key that failed
)

// steer decides, as the leader, which tunnels to build, and gives up those that had their time.
func (c *Core) steer(l *link, s *session) {
	for _, t := range l.builds() {
		c.giveUp(l, t)
	}
	if s == nil || l.session != s.id {
		return // nothing can be agreed on
	}
	using := l.using
	sound := using != nil && using.sound(c.now) && l.wants&topology.WantTunnel == 0
	switch {
	case len(l.tunnels) == 0:
		c.build(l, topology.Path{Kind: topology.PathDirect}, true)
	case !sound:
		c.replace(l)
	case c.renews(l):
		if len(l.tunnels) == 1 && !c.now.Before(l.nextDirect) { // the slot of the last one is free again
			c.renew(l)
		}
	case !l.life.burst.IsZero():
		if !slices.ContainsFunc(l.builds(), (*tunnel).relayed) && c.buildRelay(l) {
			l.tunnels[len(l.tunnels)-1].standby = true // by the time that it is known dead, another one is there
		}
	case using.path.Kind == topology.PathRelay:
		c.improve(l)
	default:
		l.directTries, l.relayTries, l.relayWhy = 0, 0, ""
		for _, t := range l.builds() {
			c.endTunnel(l, t) // nothing is better than what there is
		}
	}
}

// replace builds what may come up soonest in place of a tunnel that is dead or never came up.
func (c *Core) replace(l *link) {
	direct, relayed := 0, 0
	for _, t := range l.tunnels {
		switch {
		case t.retired, t == l.using && (t.dead || l.wants&topology.WantTunnel != 0):
		case t.path.Kind == topology.PathDirect:
			direct++
		default:
			relayed++
		}
	}
	if direct == 0 && !c.now.Before(l.nextDirect) {
		c.build(l, topology.Path{Kind: topology.PathDirect}, true)
	}
	if relayed > 0 {
		return
	}
	due := l.nextRelay
	if first := l.tunnels[0]; !first.dead && first.handshake.IsZero() {
		patience := relayPatience
		if !first.ready.IsZero() {
			patience *= 5 // scouts came through, and so will WireGuard: somebody is busy
		}
		due = later(due, first.began.Add(patience))
	}
	if c.now.Before(due) {
		c.wakeAt(due)
		return
	}
	c.buildRelay(l)
}

// improve looks for a direct path while a relayed one carries, and for UDP while a stream does.
func (c *Core) improve(l *link) {
	if len(l.builds()) > 0 {
		return
	}
	if l.nextDirect.IsZero() {
		l.nextDirect = c.now
	}
	if c.now.Before(l.nextDirect) {
		c.wakeAt(l.nextDirect)
	} else {
		c.build(l, topology.Path{Kind: topology.PathDirect}, false)
	}
}

// renews says whether the tunnel in use is on a slot, ours or theirs, that is to get a new key.
func (c *Core) renews(l *link) bool {
	return c.slots[l.using.slot].retiring || l.wants&topology.WantRenew != 0
}

// renew moves the link to other slots, by a path of the same kind, or, where that does not come up (only the first port
// is open, say), by relays.
func (c *Core) renew(l *link) {
	if l.using.path.Kind == topology.PathRelay || l.directTries%2 == 1 {
		c.buildRelay(l)
		if l.relayWhy != "" && l.directTries%2 == 1 {
			l.directTries++ // there is none: the direct path has its turn again
		}
		return
	}
	c.build(l, topology.Path{Kind: topology.PathDirect}, true)
}

// build begins a tunnel if there is a slot for it.
func (c *Core) build(l *link, path topology.Path, eager bool) bool {
	slot, mine, ok := c.pickSlot(l.slots())
	if !ok {
		return false
	}
	l.begin(c.now, slot, mine, path, eager)
	c.relink = true
	return true
}

// buildRelay begins one by the best relays that are not known to fail, or says why there are none.
func (c *Core) buildRelay(l *link) bool {
	if c.now.Before(l.nextRelay) {
		return false
	}
	via, why := c.viaTo(l)
	if via == nil {
		l.relayWhy = why
		l.nextRelay = c.now.Add(relayPause)
		return false
	}
	path := topology.Path{Kind: topology.PathRelay, Via: via}
	for path.Binding == [16]byte{} {
		for i := range path.Binding {
			path.Binding[i] = byte(c.rng.Uint32())
		}
	}
	if !c.build(l, path, false) {
		return false
	}
	l.relayWhy = ""
	return true
}

// viaTo chooses the relays of a path: the cheapest way of control that leads over relays only.
func (c *Core) viaTo(l *link) (via []topology.NodeID, why string) {
	doubtful := l.using != nil && !l.life.burst.IsZero()
	relays := func(avoidBad bool) func(topology.NodeID) bool {
		return func(id topology.NodeID) bool {
			rec := c.graph.Get(id)
			if rec == nil || rec.Features&topology.FeatureRelay == 0 || c.doubted(id) {
				return false
			}
			at, bad := l.badVia[id]
			bad = bad && c.now.Sub(at) <= badRelay || doubtful && slices.Contains(l.using.path.Via, id)
			return !avoidBad || !bad
		}
	}
	for _, avoid := range []bool{true, false} {
		if via := c.graph.Path(c.self, l.peer, topology.MaxVia, relays(avoid)); len(via) > 0 {
			return via, ""
		}
	}
	return nil, "no common peer relays"
}

// giveUp ends a build that had its time.
func (c *Core) giveUp(l *link, t *tunnel) {
	age := c.now.Sub(t.began)
	limit := buildPatience
	switch {
	case t.path.Kind == topology.PathRelay:
		limit = bindPatience
	case t.ready.IsZero() && t.theirStage < topology.StageReady && !t.eager:
		limit = searchPatience
	}
	if age < limit {
		c.wakeAt(t.began.Add(limit))
		return
	}
	c.failed(l, t, fmt.Sprintf("no way by %s after %d s", c.describe(t), int(age.Seconds())))
}

// failed books that a tunnel did not come up, and lets the next try wait a little.
func (c *Core) failed(l *link, t *tunnel, why string) {
	c.note(Debug, "path-failed", l.peer, why)
	c.endTunnel(l, t)
	if t.path.Kind == topology.PathDirect {
		pause := min(maxDirectPause, directPause<<max(0, min(l.directTries-promptSearches, 8)))
		if l.using != nil && l.using.sound(c.now) && c.renews(l) {
			pause = min(pause, renewPause)
		}
		l.nextDirect = c.now.Add(pause)
		l.directTries++
		return
	}
	for _, id := range t.path.Via {
		l.badVia[id] = c.now
	}
	l.relayWhy = why
	l.nextRelay = c.now.Add(min(maxRelayPause, relayPause<<min(l.relayTries, 5)))
	if l.relayTries == 0 {
		l.nextRelay = c.now
	}
	l.relayTries++
	if l.directTries%2 == 1 {
		l.directTries++ // a renewal takes turns
	}
}

// suspect draws conclusions from the death of a tunnel in use: its relays are not asked again soon, and the control
// sessions with them must show that they live.
func (c *Core) suspect(l *link, t *tunnel) {
	l.nextRelay, l.relayTries, l.nextDirect, l.directTries = c.now, 0, c.now, 0
	for _, id := range t.path.Via {
		l.badVia[id] = c.now
		c.doubt(id)
		for _, b := range l.builds() {
			if slices.Contains(b.path.Via, id) {
				c.endTunnel(l, b)
			}
		}
	}
	if t.path.Kind == topology.PathDirect {
		c.doubt(l.peer)
	}
	c.note(Info, "path-dead", l.peer, fmt.Sprintf("nothing comes through by %s", c.describe(t)))
}

// complain asks, as the follower, for what only the leader can do: that takes a session, which the follower opens if the
// leader does not.
func (c *Core) complain(l *link, s *session) {
	if s == nil && l.using != nil && (l.using.dead || c.slots[l.using.slot].retiring) {
		c.openRouted(l, routedPatience)
	}
}

// reach opens the session that a link needs where there is no direct one.
func (c *Core) reach(l *link) {
	using := l.using
	switch {
	case using == nil, using.dead, !using.live(c.now):
	case l.leads && using.path.Kind == topology.PathRelay:
	case l.leads && c.renews(l), l.leads && c.now.Sub(using.psk.since) >= pskLifetime:
	case len(l.builds()) > 0:
	default:
		return
	}
	patience := routedPatience
	if !l.leads {
		patience *= 3 // usually the leader is first
	}
	if using != nil && using.dead {
		patience = askPause
	}
	c.openRouted(l, patience)
}

// routedPatience is how long a direct session is waited for before neighbours are asked to carry one.
const routedPatience = time.Second

// openRouted asks for a session over neighbours when there is no direct one.
func (c *Core) openRouted(l *link, patience time.Duration) {
	if _, ok := c.routes[l.peer]; !ok {
		return
	}
	if l.nextRouted.IsZero() {
		l.nextRouted = c.now.Add(patience)
	}
	if c.now.Before(l.nextRouted) {
		c.wakeAt(l.nextRouted)
		return
	}
	l.nextRouted = c.now.Add(10 * time.Second) // or sooner, when this try has failed
	c.do(OpenRouted{l.peer})
}

// routedFailed lets the next try come with growing pauses.
func (l *link) routedFailed(now time.Time, reason string) {
	l.routedTries++
	l.nextRouted = now.Add(min(10*time.Second, 500*time.Millisecond<<min(l.routedTries, 5)))
	l.routedReason = reason
}

// describe says by which way a tunnel goes.
func (c *Core) describe(t *tunnel) string {
	if t.path.Kind != topology.PathRelay {
		return "direct: WireGuard with " + t.endpoint.String()
	}
	text := "relay: "
	via := t.path.Via
	for i, id := range via {
		if i > 0 {
			text += ", "
		}
		text += c.name(id)
	}
	return text
}

// viaFrom lists the relays from our end.
func (l *link) viaFrom(t *tunnel) []topology.NodeID {
	via := slices.Clone(t.path.Via)
	if !l.leads {
		slices.Reverse(via)
	}
	return via
}
