package wgmesh

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// pskAgreement is how the two ends of a tunnel come to use the same pre-shared key. The leader (lower node id) says
// Prepare; the follower installs the key and, once its device shows it, says Confirm; the leader installs it and says
// Applied. The key never travels. A step that is lost is repeated by the leader; a session that ends ends the
// agreement, and the next session starts a new one. A follower that has lost the key (the link was gone here for a while)
// asks with Wanted, since the leader sees nothing wrong. Until the key is in place at both ends the tunnel's running
// session lives on: WireGuard takes a changed key only at its next handshake (measured: 120 s of grace).
type pskAgreement struct {
	phase   pskPhase
	session SessionID
	epoch   uint64
	key     wgtypes.Key
	started time.Time // when this agreement began
	sent    time.Time // when our last step was sent
}

type pskPhase uint8

const (
	pskNone      pskPhase = iota
	pskPreparing          // leader: Prepare sent, waiting for Confirm
	pskInstall            // either: the key is in the spec, waiting for the device to show it
	pskConfirmed          // follower: Confirm sent, waiting for Applied
	pskAgreed             // both have it
)

const (
	pskRetry    = time.Second       // a step without an answer is repeated
	pskPatience = 2 * time.Second   // a follower without a key waits so long for the leader before it asks
	pskLifetime = time.Hour         // then the leader agrees on a new one
	pskVerify   = 170 * time.Second // a handshake must have succeeded this long after the last, or the keys may differ
)

// derivePSK makes the pre-shared key of a tunnel from what only the two ends of a session know. All inputs are in an
// order that both ends can build: the leader's WireGuard key first.
func derivePSK(export [32]byte, leader, follower topology.NodeID, leaderKey, followerKey wgtypes.Key, epoch uint64) wgtypes.Key {
	info := make([]byte, 0, 16+16+32+32+8)
	info = append(info, leader[:]...)
	info = append(info, follower[:]...)
	info = append(info, leaderKey[:]...)
	info = append(info, followerKey[:]...)
	info = binary.BigEndian.AppendUint64(info, epoch)
	out, err := hkdf.Expand(sha256.New, export[:], "weavewg psk v1\x00"+string(info), 32)
	if err != nil { // only for lengths above 255 hashes
		return wgtypes.Key{}
	}
	return wgtypes.Key(out)
}

// prepare starts an agreement as the leader and returns the message that does so.
func (l *link) prepare(now time.Time, s *session, epoch uint64, self topology.NodeID, mine wgtypes.Key) topology.Message {
	l.psk = pskAgreement{
		phase: pskPreparing, session: s.id, epoch: epoch, started: now, sent: now,
		key: derivePSK(s.export, self, l.peer, mine, l.tunnel.key, epoch),
	}
	return l.pskMessage(topology.PSKPrepare, mine)
}

// pskMessage makes the step's message from our side of the tunnel.
func (l *link) pskMessage(phase topology.PSKPhase, mine wgtypes.Key) topology.Message {
	return topology.Message{PSK: &topology.PSKStep{
		Epoch: l.psk.epoch,
		Phase: phase,
		Tunnel: topology.TunnelPair{
			MySlot: uint8(l.tunnel.slot), MyKey: mine,
			YourSlot: l.tunnel.peerSlot, YourKey: l.tunnel.key,
		},
	}}
}

// takePSK handles a step that came over session s. It returns false and why when the step does not fit what we know: the
// peer then repeats it, and by then the records that it rests on have arrived, or the agreement is over.
func (l *link) takePSK(now time.Time, s *session, step *topology.PSKStep, self topology.NodeID, mine wgtypes.Key) (bool, string) {
	pair := step.Tunnel
	if Slot(pair.YourSlot) != l.tunnel.slot || wgtypes.Key(pair.YourKey) != mine {
		return false, "it names another key of ours"
	}
	if pair.MySlot != l.tunnel.peerSlot || wgtypes.Key(pair.MyKey) != l.tunnel.key {
		return false, "it names a key that the peer's record does not have"
	}
	leads := self.Compare(l.peer) < 0
	switch step.Phase {
	case topology.PSKPrepare:
		if leads {
			return false, "the lower id leads"
		}
		if l.psk.session == s.id && l.psk.epoch == step.Epoch && l.psk.phase >= pskInstall {
			if l.psk.phase > pskInstall { // our Confirm was lost, or the leader restarted the step
				l.psk.phase = pskInstall
			}
			return true, ""
		}
		l.psk = pskAgreement{
			phase: pskInstall, session: s.id, epoch: step.Epoch, started: now,
			key: derivePSK(s.export, l.peer, self, l.tunnel.key, mine, step.Epoch),
		}
		l.tunnel.psk = l.psk.key
	case topology.PSKConfirm:
		if !leads || l.psk.session != s.id || l.psk.epoch != step.Epoch {
			return false, "it confirms another agreement"
		}
		if l.psk.phase == pskPreparing {
			l.psk.phase = pskInstall
			l.tunnel.psk = l.psk.key
		}
	case topology.PSKApplied:
		if leads || l.psk.session != s.id || l.psk.epoch != step.Epoch || l.psk.phase != pskConfirmed {
			return false, "it applies another agreement"
		}
		l.psk.phase = pskAgreed
		l.pskAgreed(now)
	case topology.PSKWanted:
		if !leads {
			return false, "the lower id leads"
		}
		if l.psk.phase == pskPreparing || now.Sub(l.psk.started) < pskRetry {
			return true, ""
		}
		l.psk, l.tunnel.pskSince = pskAgreement{}, time.Time{}
	default:
		return false, fmt.Sprintf("unknown phase %d", step.Phase)
	}
	return true, ""
}

// installed is called when the device shows the key of a running agreement: the end that installs answers.
func (l *link) installed(now time.Time, self topology.NodeID, mine wgtypes.Key) (topology.Message, bool) {
	if l.psk.phase != pskInstall {
		return topology.Message{}, false
	}
	l.psk.sent = now
	if self.Compare(l.peer) < 0 {
		l.psk.phase = pskAgreed
		l.pskAgreed(now)
		return l.pskMessage(topology.PSKApplied, mine), true
	}
	l.psk.phase = pskConfirmed
	return l.pskMessage(topology.PSKConfirm, mine), true
}

func (l *link) pskAgreed(now time.Time) { l.tunnel.pskSince = now }

// wantsPSK says whether the leader should begin a new agreement over session s.
func (l *link) wantsPSK(now time.Time, s *session) bool {
	switch {
	case l.psk.phase == pskPreparing || l.psk.phase == pskInstall:
		return l.psk.session != s.id || now.Sub(l.psk.started) > 30*time.Second
	case l.tunnel.pskSince.IsZero():
		return true
	case now.Sub(l.tunnel.pskSince) > pskLifetime:
		return true
	case now.Sub(l.tunnel.pskSince) > pskVerify && now.Sub(l.tunnel.handshake) > pskVerify:
		return true // handshakes fail: the ends may hold different keys
	default:
		return false
	}
}
