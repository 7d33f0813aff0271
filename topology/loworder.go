package topology

import (
	"encoding/hex"
	"errors"
)

// lowOrder holds the points of Curve25519 whose order divides 8, with p-1, p and p+1 as their other encodings: with
// any of them the shared secret is zero, known to everybody (RFC 7748, section 6.1).
var lowOrder = func() map[[32]byte]bool {
	points := map[[32]byte]bool{}
	for _, s := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		b := must(hex.DecodeString(s))
		points[[32]byte(b)] = true
	}
	return points
}()

// CheckSlotKey says why key cannot be the WireGuard key of a peer. WireGuard itself takes a low-order point without a
// word and then never gets a handshake.
func CheckSlotKey(key [32]byte) error {
	key[31] &= 0x7f // X25519 ignores the top bit
	if key == [32]byte{} {
		return errors.New("WireGuard key is zero")
	}
	if lowOrder[key] {
		return errors.New("WireGuard key is a low-order point")
	}
	return nil
}
