package wgmesh

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// link is what this node holds about reaching one peer: its end of the tunnel step, what probes say of the tunnel in use,
// and what is being tried for a better one.
type link struct {
	end
	address netip.Addr // the peer's overlay address
	life    liveness
	watched *tunnel   // whom life is about
	dirty   bool      // something happened to it
	wake    time.Time // when it wants to be looked at again
	since   time.Time // of the state
	state   LinkState
	reason  string
	busy    bool // frames pass
	counted uint64
	countAt time.Time

	nextDirect  time.Time // when a direct path may be looked for again
	directTries int
	nextRelay   time.Time // when another relay may be tried
	relayTries  int
	relayWhy    string // why there is no relayed path
	badVia      map[topology.NodeID]time.Time

	nextRouted   time.Time // when a routed session may be tried
	routedTries  int
	routedReason string
}

// LinkState says whether a link carries frames.
type LinkState uint8

// The states, in the words of the status.
const (
	LinkDown LinkState = iota
	LinkConnecting
	LinkUp
)

// String gives the word used in status and logs.
func (s LinkState) String() string { return [...]string{"down", "connecting", "up"}[s] }

// judge decides the link's state and its reason; controlled says that a control session or route to the peer exists.
func (l *link) judge(now time.Time, controlled bool, describe func(*tunnel) string) (changed bool) {
	state, reason := l.assess(now, controlled, describe)
	changed = state != l.state
	if changed || l.since.IsZero() {
		l.since = now
	}
	l.state, l.reason = state, reason
	return changed
}

func (l *link) assess(now time.Time, controlled bool, describe func(*tunnel) string) (LinkState, string) {
	t := l.using
	switch {
	case t == nil && !controlled:
		return LinkDown, "no control session, and no neighbour has one to it"
	case t == nil && l.why != "":
		return LinkConnecting, "agreeing on a tunnel: " + l.why
	case t == nil:
		return LinkConnecting, "agreeing on a tunnel"
	case !t.onDevice:
		return LinkConnecting, "installing the tunnel"
	case t.sound(now):
		return LinkUp, describe(t)
	case t.live(now):
		return LinkDown, fmt.Sprintf("no answer to probes for %d s by %s", int(now.Sub(t.deadSince).Seconds()), describe(t))
	case now.Sub(t.added) < noHandshake:
		return LinkConnecting, "waiting for a WireGuard handshake with " + t.endpoint.String()
	case controlled && t.path.Kind == topology.PathDirect:
		return LinkConnecting, fmt.Sprintf("control session up, no WireGuard handshake for %d s: is UDP %d open at %s?",
			int(now.Sub(later(t.added, t.handshake)).Seconds()), t.peerPort, t.endpoint.Addr())
	case controlled:
		return LinkConnecting, fmt.Sprintf("no WireGuard handshake for %d s by %s", int(now.Sub(later(t.added, t.handshake)).Seconds()), describe(t))
	}
	return LinkDown, "no control session and no WireGuard handshake: absent or unreachable"
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// carries says whether frames should be sent into the link: before the first handshake WireGuard keeps the first packets
// until it is done, afterwards a link that is down would only eat them.
func (l *link) carries(now time.Time) bool {
	t := l.using
	return t != nil && t.onDevice && !l.silent(t, now) && (l.state == LinkUp || l.state == LinkConnecting && now.Sub(t.added) < noHandshake)
}

// count notices whether more passes than probes and keepalives.
func (l *link) count(now time.Time) {
	var total uint64
	for _, t := range l.tunnels {
		total += t.rx + t.tx
	}
	if gone := now.Sub(l.countAt); gone >= countEvery {
		own := uint64(4*probeBytes) * uint64(gone/l.life.pace(l.busy, false)+1)
		l.busy = total > l.counted+own+idleBytes
		l.counted, l.countAt = total, now
	}
	l.counted = min(l.counted, total)
}

const (
	countEvery = 900 * time.Millisecond // about every observation of a calm device
	probeBytes = 112                    // of one probe or answer as WireGuard counts it
	idleBytes  = 512                    // handshakes, keepalives
)
