package relay

import (
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/blake2s"
)

// WireGuard's messages (whitepaper, 5.4; drivers/net/wireguard/messages.h). Numbers are little endian; three zero bytes
// follow the type.
const (
	initiation = 1
	response   = 2
	cookie     = 3
	transport  = 4

	initiationLen = 148
	responseLen   = 92
	cookieLen     = 64
	transportLen  = 32 // at least

	mac1Len = 16 // mac1 is before mac2, the last 16 bytes, and covers what is before it
)

// kindOf returns the type of a message, 0 if it is none.
func kindOf(p []byte) uint32 {
	if len(p) < transportLen {
		return 0
	}
	kind := binary.LittleEndian.Uint32(p)
	switch {
	case kind == transport,
		kind == initiation && len(p) == initiationLen,
		kind == response && len(p) == responseLen,
		kind == cookie && len(p) == cookieLen:
		return kind
	}
	return 0
}

// senderOf returns the index that the sender of an initiation or a response chose.
func senderOf(p []byte) uint32 { return binary.LittleEndian.Uint32(p[4:]) }

// receiverOf returns the index that the receiver of a message chose, in all but an initiation.
func receiverOf(kind uint32, p []byte) uint32 {
	if kind == response {
		return binary.LittleEndian.Uint32(p[8:])
	}
	return binary.LittleEndian.Uint32(p[4:])
}

// mac1 computes the first MAC of the handshake messages to one receiver.
type mac1 struct {
	hash hash.Hash
	sum  [mac1Len]byte
}

func newMAC1(receiver [32]byte) mac1 {
	key := blake2s.Sum256(append([]byte("mac1----"), receiver[:]...))
	h, err := blake2s.New128(key[:])
	if err != nil {
		must(err)
	}
	return mac1{hash: h}
}

// must reports what is constant: BLAKE2s refuses only keys above 32 bytes.
func must(err error) { panic(err) }

// names says whether an initiation or a response is meant for the receiver. The MAC is no secret of ours, so its
// comparison may tell time.
func (m *mac1) names(p []byte) bool {
	at := len(p) - 2*mac1Len
	m.hash.Reset()
	m.hash.Write(p[:at])
	m.hash.Sum(m.sum[:0])
	return m.sum == [mac1Len]byte(p[at:])
}
