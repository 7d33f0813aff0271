package config

import (
	"crypto/sha256"
	"encoding/binary"
)

// maxVNI is the largest VXLAN network identifier: 24 bits (RFC 7348, section 5).
const maxVNI = 1<<24 - 1

// AutoVNI derives the identifier of a network from the names of mesh and network, so that all nodes arrive at the
// same one without talking. It is never 0.
func AutoVNI(mesh, network string) uint32 {
	sum := sha256.Sum256([]byte("weavewg vni v1\x00" + mesh + "\x00" + network))
	return binary.BigEndian.Uint32(sum[:4])%maxVNI + 1
}
