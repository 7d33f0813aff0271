package topology

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
)

// NodeID names a node for as long as its identity key lives: the first 16 bytes of a domain-separated SHA-256 of the
// Ed25519 public key. It outlives addresses, names, restarts and WireGuard keys.
type NodeID [16]byte

// IDOf returns the id of the node that holds the identity key pub.
func IDOf(pub []byte) NodeID {
	sum := sha256.Sum256(append([]byte("weavewg node id v1\x00"), pub...))
	return NodeID(sum[:16])
}

// ParseNodeID reads the 32 hexadecimal digits that String prints.
func ParseNodeID(s string) (NodeID, error) {
	var id NodeID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("node id %q: want 32 hexadecimal digits", s)
	}
	copy(id[:], b)
	return id, nil
}

// String returns the id as 32 hexadecimal digits.
func (id NodeID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first 8 digits, for interface names and tables.
func (id NodeID) Short() string { return hex.EncodeToString(id[:4]) }

// IsZero says that the id names nobody.
func (id NodeID) IsZero() bool { return id == NodeID{} }

// Compare orders ids by their bytes.
func (id NodeID) Compare(other NodeID) int { return bytes.Compare(id[:], other[:]) }

// MarshalText and UnmarshalText make the id a string in JSON.
func (id NodeID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (id *NodeID) UnmarshalText(text []byte) error {
	parsed, err := ParseNodeID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// OverlayAddress is the node's address inside the overlay namespaces: an IPv6 unique local address (RFC 4193) whose
// 40-bit global id comes from the mesh's name and whose last 80 bits come from the identity. Nothing allocates it, so
// nothing can conflict; two nodes share one only if 80 bits of SHA-256 collide.
func OverlayAddress(mesh string, id NodeID) netip.Addr {
	m := sha256.Sum256([]byte("weavewg mesh prefix v1\x00" + mesh))
	var a [16]byte
	a[0] = 0xfd
	copy(a[1:6], m[:5])
	copy(a[6:], id[:10])
	return netip.AddrFrom16(a)
}
