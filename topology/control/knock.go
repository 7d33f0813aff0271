package control

import (
	"crypto/hmac"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"strings"
)

// A knock is the first label of the server name in a ClientHello: a nonce and its HMAC under a key that only holders of
// the mesh secret have. Whoever cannot knock is not answered at all. It buys silence and nothing else: it can be
// replayed, so after TLS both ends prove the secret.
const (
	nonceSize   = 16
	knockSize   = nonceSize + 16
	knockSuffix = ".internal" // reserved for private use by ICANN, so no real host has it
)

var knockText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

var (
	// ErrNoKnock is why a connection was closed without an answer: it did not begin with our knock.
	ErrNoKnock  = errors.New("no knock of our mesh")
	errReplayed = errors.New("knock was used before")
)

// newKnock returns a server name, a valid host name as any TLS client might send.
func newKnock(k meshKeys) string {
	var nonce [nonceSize]byte
	_, _ = rand.Read(nonce[:]) // never fails: crypto/rand
	return knockText.EncodeToString(append(nonce[:], knockMAC(k, nonce[:])...)) + knockSuffix
}

func knockMAC(k meshKeys, nonce []byte) []byte { return mac(k.knock, nonce)[:knockSize-nonceSize] }

// openKnock returns the nonce of a knock made with one of keys.
func openKnock(name string, keys []meshKeys) ([nonceSize]byte, bool) {
	var nonce [nonceSize]byte
	label, ok := strings.CutSuffix(name, knockSuffix)
	if !ok || len(label) != knockText.EncodedLen(knockSize) {
		return nonce, false
	}
	knock, err := knockText.DecodeString(label)
	if err != nil || knockText.EncodeToString(knock) != label { // spare bits must be zero: one nonce has one text
		return nonce, false
	}
	copy(nonce[:], knock)
	found := false
	for _, k := range keys { // all of them, so that time does not tell which one fits
		if hmac.Equal(knock[nonceSize:], knockMAC(k, nonce[:])) {
			found = true
		}
	}
	return nonce, found
}
