package wgmesh

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// link is what this node holds about reaching one peer: the tunnel that carries it, the key agreement and what probes
// say. In this version a link has one tunnel, on slot 0 of both ends, and its path is direct.
type link struct {
	peer    topology.NodeID
	address netip.Addr // the peer's overlay address
	tunnel  tunnel
	psk     pskAgreement
	probes  probeWindow
	since   time.Time // of the state
	state   LinkState
	reason  string

	nextRouted   time.Time // when a routed session may be tried
	routedTries  int
	routedReason string
}

// tunnel is a WireGuard peer entry on a slot.
type tunnel struct {
	slot       Slot        // ours
	peerSlot   uint8       // theirs
	key        wgtypes.Key // theirs
	generation uint32      // of their key
	peerPort   uint16      // UDP port of their slot
	psk        wgtypes.Key // zero: none agreed, so the tunnel is not in the spec
	pskSince   time.Time

	candidate  int       // index of the endpoint in use
	tried      time.Time // since when
	endpoint   netip.AddrPort
	onDevice   bool // the device shows it with our psk
	added      time.Time
	handshake  time.Time // zero: never
	keySince   time.Time // when we first saw this key
	rx, tx     uint64
	rxAdvanced time.Time // when rx last grew
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

const (
	// sessionLife is REJECT_AFTER_TIME of WireGuard (drivers/net/wireguard/messages.h): an older session carries nothing.
	sessionLife = 180 * time.Second
	// candidateTime is REKEY_TIMEOUT: WireGuard starts no second handshake earlier, so no endpoint is judged sooner.
	candidateTime = 5200 * time.Millisecond
	// noHandshake is when a person is told that the tunnel does not come up.
	noHandshake = 15 * time.Second
)

// live says whether the tunnel has a session that may still carry data.
func (t *tunnel) live(now time.Time) bool {
	return !t.handshake.IsZero() && now.Sub(t.handshake) < sessionLife
}

// rekey makes the tunnel one to another key of the peer. What was agreed for the old key is void.
func (l *link) rekey(now time.Time, slot topology.SlotKey) {
	l.tunnel = tunnel{
		slot: 0, peerSlot: slot.Slot, key: slot.Key, generation: slot.Generation, peerPort: slot.Port, keySince: now,
	}
	l.psk = pskAgreement{}
}

// observe takes over what the device says about the tunnel.
func (l *link) observe(now time.Time, status DeviceStatus) {
	t := &l.tunnel
	t.onDevice = false
	slot, ok := findSlot(status.Slots, t.slot)
	if !ok {
		return
	}
	i := slices.IndexFunc(slot.Peers, func(p PeerStatus) bool { return p.Key == t.key })
	if i < 0 {
		return
	}
	p := slot.Peers[i]
	if t.psk == (wgtypes.Key{}) {
		t.psk = p.PSK // adopted from before a restart
	}
	t.onDevice = p.PSK == t.psk && t.psk != (wgtypes.Key{})
	if t.onDevice && t.added.IsZero() {
		t.added = now
	}
	if p.Endpoint.IsValid() {
		t.endpoint = p.Endpoint
	}
	if p.Rx > t.rx {
		t.rxAdvanced = now
	}
	if t.live(now) && p.LastHandshake.Before(t.handshake) {
		t.tried = now // the session was lost, its device died: where it worked last gets the first try
	}
	t.handshake, t.rx, t.tx = p.LastHandshake, p.Rx, p.Tx
}

// aim chooses the endpoint to try: the first candidate at once, the next one each time a try had its time without a
// handshake. It says nothing while the tunnel lives.
func (l *link) aim(now time.Time, candidates []netip.AddrPort) {
	t := &l.tunnel
	if t.live(now) || len(candidates) == 0 {
		return
	}
	if t.tried.IsZero() {
		t.candidate, t.tried = 0, now
		t.endpoint = candidates[0]
		return
	}
	if now.Sub(t.tried) >= candidateTime && t.onDevice {
		t.candidate, t.tried = (t.candidate+1)%len(candidates), now
		t.endpoint = candidates[t.candidate]
	}
}

// judge decides the link's state and its reason; controlled says that a control session or route to the peer exists.
func (l *link) judge(now time.Time, controlled bool) (changed bool) {
	t := &l.tunnel
	state := LinkConnecting
	var reason string
	switch {
	case t.psk == (wgtypes.Key{}) && !controlled:
		state, reason = LinkDown, "no control session, and no neighbour has one to it"
	case t.psk == (wgtypes.Key{}):
		reason = "agreeing on a pre-shared key"
	case !t.onDevice:
		reason = "installing the tunnel"
	case t.live(now) && !l.probes.dead(now, t.rxAdvanced):
		state, reason = LinkUp, "direct: WireGuard handshake with "+t.endpoint.String()
	case t.live(now):
		state, reason = LinkDown, fmt.Sprintf("no answer to the last %d probes at %s", l.probes.lostInARow, t.endpoint)
	case now.Sub(t.added) < noHandshake:
		reason = "waiting for a WireGuard handshake with " + t.endpoint.String()
	case controlled:
		reason = fmt.Sprintf("control session up, no WireGuard handshake for %d s: is UDP %d open at %s?",
			int(now.Sub(later(t.added, t.handshake)).Seconds()), t.peerPort, t.endpoint.Addr())
	default:
		state, reason = LinkDown, "no control session and no WireGuard handshake: absent or unreachable"
	}
	changed = state != l.state
	if changed || l.since.IsZero() {
		l.since = now
	}
	l.state, l.reason = state, reason
	return changed
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
	t := &l.tunnel
	return t.onDevice && (l.state == LinkUp || l.state == LinkConnecting && now.Sub(t.added) < noHandshake)
}
