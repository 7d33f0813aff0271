package wgmesh

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// pskState is how the two ends of a tunnel come to use the same pre-shared key. The leader offers: it names an epoch, and
// both ends derive the key from it and from what only their session knows, so the key never travels. The follower installs
// and says by a check which key it has in place; only then the leader installs too. Whoever finds that the checks differ
// (a restart, a key changed by hand) makes the leader offer anew. Until the key is in place at both ends the tunnel's
// running session lives on: WireGuard takes a changed key only at its next handshake (measured: 120 s of grace).
type pskState struct {
	key     wgtypes.Key // in place, or to be put in place; zero: none yet
	epoch   uint64      // of key; 0: from before a restart
	since   time.Time   // when both ends were known to have it; zero: not yet
	install bool        // key belongs on the device
	offer   *pskOffer   // leader: what the follower is asked to install
}

type pskOffer struct {
	epoch   uint64
	key     wgtypes.Key
	session SessionID
}

const (
	pskLifetime = time.Hour        // then the leader offers a new one
	pskPatience = 30 * time.Second // an offer that is not taken up for so long is made anew
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

// checkOf tells whether two ends hold the same key without telling the key.
func checkOf(key wgtypes.Key) (check [8]byte) {
	if key != (wgtypes.Key{}) {
		sum := sha256.Sum256(append([]byte("weavewg psk check v1\x00"), key[:]...))
		copy(check[:], sum[:])
	}
	return check
}
