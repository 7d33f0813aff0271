package scout

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
)

// TagSize is the length of a key's name on the wire, in bytes.
const TagSize = 8

// Key authenticates the scouts between two nodes, in both directions. The tag names it on the wire, so that a receiver with
// many keys computes one MAC and no more; it is as hard to guess as 64 bits are, and says nothing about the secret.
type Key struct {
	Tag    [TagSize]byte
	Secret [32]byte
}

// DeriveKey returns the key of one purpose out of a secret of a control session (RFC 8446, 7.5). The context tells keys
// of one session apart: purpose, binding, leg.
func DeriveKey(export [32]byte, context []byte) Key {
	var k Key
	out, err := hkdf.Expand(sha256.New, export[:], "weavewg scout v1\x00"+string(context), len(k.Tag)+len(k.Secret))
	if err != nil {
		must(fmt.Errorf("scout key: %w", err))
	}
	copy(k.Tag[:], out)
	copy(k.Secret[:], out[len(k.Tag):])
	return k
}

// must reports what is constant: HKDF-SHA256 refuses only outputs above 8160 bytes (RFC 5869).
func must(err error) { panic(err) }

// String keeps keys out of logs.
func (k Key) String() string { return fmt.Sprintf("scout key %x", k.Tag) }

// GoString keeps keys out of logs.
func (k Key) GoString() string { return k.String() }

func (k Key) mac(b []byte) []byte {
	h := hmac.New(sha256.New, k.Secret[:])
	h.Write(b)
	return h.Sum(nil)[:macSize]
}
