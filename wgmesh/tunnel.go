package wgmesh

import (
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// tunnel is a WireGuard peer entry on a slot, from the search for its way to its end. Its path never changes: another
// path is another tunnel.
type tunnel struct {
	slot Slot
	mine wgtypes.Key // our slot's public key
	path topology.Path

	peerSlot uint8
	peerPort uint16
	key      wgtypes.Key // theirs; zero: not chosen yet
	keySince time.Time

	plan    uint64 // leader: the first that it is in; 0: from before a restart
	began   time.Time
	eager   bool      // built without waiting for a scout's answer: on first contact, and where haste matters
	standby bool      // leader: it takes over only if the tunnel in use dies
	ready   time.Time // since when our part of the path stands; zero: it does not
	retired bool      // it carried, and another one does now
	doomed  time.Time // leader: when it may go; zero: not decided
	psk     pskState

	theirStage     topology.TunnelStage
	theirEndpoints []netip.AddrPort
	theirStream    bool // their way to the path's end at their side is a TLS stream

	bound       SessionID // with the first relay, over which the binding was asked for or told of; 0: not yet
	boundKey    scout.Key // authenticates our registrations there, and its questions
	boundAt     time.Time
	search      search
	heard       netip.AddrPort // a scout of the peer came from there
	verifiedRTT time.Duration

	candidate int       // index of the endpoint being tried
	tried     time.Time // since when
	endpoint  netip.AddrPort
	verified  netip.AddrPort // an authenticated scout came from there, or a relay answered

	onDevice   bool // the device shows it with our key
	lived      bool // it had a handshake, now or before its device died
	inPlace    bool // with psk.key, that is; else the key is newer than the last look at the device
	added      time.Time
	handshake  time.Time // zero: never
	rx, tx     uint64
	rxAdvanced time.Time // when rx last grew
	dead       bool      // probes say that nothing comes through
	deadSince  time.Time
	noted      topology.TunnelStage // in the log
}

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
	return t.onDevice && !t.handshake.IsZero() && now.Sub(t.handshake) < sessionLife
}

// sound says that it has, and that probes do not contradict.
func (t *tunnel) sound(now time.Time) bool { return t.live(now) && !t.dead }

func (t *tunnel) relayed() bool { return t.path.Kind == topology.PathRelay }

// carries says that it is sound for both ends.
func (t *tunnel) carries(now time.Time) bool {
	return t != nil && t.sound(now) && t.theirStage != topology.StageDead
}

// answerTime is how long the follower of a new tunnel leaves the first word to the leader: half of WireGuard's pause
// between two initiations. Two that cross are both in vain, for whoever answers one forgets its own (whitepaper, 5.4: the
// state of a handshake is one), and the next come 5 s later.
const answerTime = 2600 * time.Millisecond

// silent says that we should send nothing into it yet, the other end being about to begin.
func (e *end) silent(t *tunnel, now time.Time) bool {
	return !e.leads && !t.lived && (t.added.IsZero() || now.Sub(t.added) < answerTime)
}

// wanted says whether the device should have it.
func (t *tunnel) wanted() bool {
	return t.key != (wgtypes.Key{}) && t.psk.key != (wgtypes.Key{}) && t.psk.install
}

// stage is what the other end is told.
func (t *tunnel) stage(now time.Time) topology.TunnelStage {
	switch {
	case t.dead:
		return topology.StageDead
	case t.live(now):
		return topology.StageAlive
	case t.onDevice:
		return topology.StageBuilt
	case !t.ready.IsZero():
		return topology.StageReady
	}
	return topology.StageSearch
}

// found books that our part of the path stands, by way of an address that answered with authentication.
func (t *tunnel) found(now time.Time, at netip.AddrPort) {
	if t.ready.IsZero() {
		t.ready = now
	}
	t.verified = at
	if !t.live(now) {
		t.endpoint, t.tried = at, now
	}
}

// observe takes over what the device says about the tunnel.
func (t *tunnel) observe(now time.Time, status DeviceStatus) {
	t.onDevice, t.inPlace = false, false
	slot, ok := findSlot(status.Slots, t.slot)
	if !ok || t.key == (wgtypes.Key{}) {
		return
	}
	i := slices.IndexFunc(slot.Peers, func(p PeerStatus) bool { return p.Key == t.key })
	if i < 0 {
		return
	}
	p := slot.Peers[i]
	t.onDevice = p.PSK == t.psk.key && t.psk.key != (wgtypes.Key{})
	t.inPlace = t.onDevice
	if t.onDevice && t.added.IsZero() {
		t.added = now
	}
	if p.Endpoint.IsValid() && (t.verified == (netip.AddrPort{}) || !p.LastHandshake.IsZero()) {
		t.endpoint = p.Endpoint
	}
	if p.Rx > t.rx {
		t.rxAdvanced = now
	}
	if !t.handshake.IsZero() && now.Sub(t.handshake) < sessionLife && p.LastHandshake.Before(t.handshake) {
		t.tried = now // the session was lost, its device died: where it worked last gets the first try
	}
	t.lived = t.lived || !p.LastHandshake.IsZero()
	t.handshake, t.rx, t.tx = p.LastHandshake, p.Rx, p.Tx
}

// aim chooses the endpoint to try: the first candidate at once, the next one each time a try had its time without a
// handshake. It says nothing while the tunnel lives, or knows better.
func (t *tunnel) aim(now time.Time, candidates []netip.AddrPort) {
	if t.live(now) || len(candidates) == 0 || t.path.Kind != topology.PathDirect {
		return
	}
	if t.verified.IsValid() && now.Sub(t.tried) < candidateTime {
		return
	}
	if t.tried.IsZero() || !t.endpoint.IsValid() {
		t.candidate, t.tried = 0, now
		t.endpoint = candidates[0]
		return
	}
	if now.Sub(t.tried) >= candidateTime && t.onDevice {
		t.candidate, t.tried = (t.candidate+1)%len(candidates), now
		t.endpoint, t.verified = candidates[t.candidate], netip.AddrPort{}
	}
}
