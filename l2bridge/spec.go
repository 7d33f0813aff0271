package l2bridge

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// MaxVNI is the largest network identifier (24 bits, RFC 7348).
const MaxVNI = 1<<24 - 1

// Spec is what the overlay namespace's bridges should be, in VNI order.
type Spec struct{ Networks []NetworkSpec }

// NetworkSpec is one network: a bridge, and a veth pair of which one end is the bridge's overlay port and the other is
// where frames are captured and injected.
type NetworkSpec struct {
	Name string // for people
	VNI  uint32
	MTU  int // bytes of layer 3
}

// Status is what was observed, in VNI order; ports in link order.
type Status struct {
	Networks []NetworkStatus
	Ports    []PortStatus
}

// NetworkStatus is one network as it is.
type NetworkStatus struct {
	VNI    uint32
	Bridge bool // the bridge exists
	Pair   bool // the overlay port and its capture end exist
	MTU    int  // of all three; 0 when they differ
	// Fault says what else is not as it should be: a link down, not in the bridge, a setting changed. Empty: nothing.
	Fault string
}

// PortStatus is one attachment as it is.
type PortStatus struct {
	ID        string // of the attachment
	Link      string // host end, in the overlay namespace
	VNI       uint32
	Interface string // name that the other end was given
	MAC       string // of the other end
	// Bridged says that the host end is up and in its network's bridge.
	Bridged bool
	// Unfinished marks a host end that was left half made: it belongs to nobody.
	Unfinished bool
}

// Names of interfaces in the overlay namespace; at most 15 bytes.

// BridgeName names a network's bridge.
func BridgeName(vni uint32) string { return fmt.Sprintf("br-%06x", vni) }

// OverlayPortName names the bridge's port that leads to other nodes.
func OverlayPortName(vni uint32) string { return fmt.Sprintf("po-%06x", vni) }

// CaptureName names the far end of the overlay port: what the bridge sends to other nodes arrives there.
func CaptureName(vni uint32) string { return fmt.Sprintf("ca-%06x", vni) }

// PortPrefix begins the name of every attachment's host end.
const PortPrefix = "vp-"

// PortName names the host end of an attachment; 48 bits of hash keep ids of any length apart.
func PortName(id string) string {
	sum := sha256.Sum256([]byte(id))
	return PortPrefix + hex.EncodeToString(sum[:6])
}

// ParseName takes a bridge's, overlay port's or capture end's name apart.
func ParseName(name string) (kind string, vni uint32, ok bool) {
	if len(name) != len("br-000000") || name[2] != '-' {
		return "", 0, false
	}
	kind = name[:2]
	if kind != "br" && kind != "po" && kind != "ca" {
		return "", 0, false
	}
	b, err := hex.DecodeString(name[3:])
	if err != nil {
		return "", 0, false
	}
	return kind, uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]), true
}
