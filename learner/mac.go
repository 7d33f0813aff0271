package learner

import (
	"bytes"
	"fmt"
	"net"
)

// MAC is an IEEE 802 48-bit address.
type MAC [6]byte

// Broadcast is the address of all stations.
var Broadcast = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// ParseMAC reads six bytes in any notation that net.ParseMAC knows.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil || len(hw) != 6 {
		return MAC{}, fmt.Errorf("MAC address %q: want six bytes such as 02:42:0a:20:00:01", s)
	}
	return MAC(hw), nil
}

// Group says whether the address names many stations: multicast and broadcast have the lowest bit of the first byte.
func (m MAC) Group() bool { return m[0]&1 != 0 }

// IsZero says whether the address is all zeros, which no station may have.
func (m MAC) IsZero() bool { return m == MAC{} }

// Compare orders addresses by their bytes.
func (m MAC) Compare(other MAC) int { return bytes.Compare(m[:], other[:]) }

// String prints the address as net.HardwareAddr does.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }
