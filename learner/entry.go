package learner

import (
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// Local is the owner of what is plugged in at this node: no peer has the zero id.
var Local topology.NodeID

// Source says which protocol paired a MAC with an IP address.
type Source uint8

// The sources.
const (
	FromARP  Source = iota + 1 // RFC 826: sender fields
	FromND                     // RFC 4861: link-layer address options
	FromDHCP                   // RFC 2131: what a server granted
)

// String returns the name that `weavewg macs` prints.
func (s Source) String() string {
	switch s {
	case FromARP:
		return "arp"
	case FromND:
		return "nd"
	case FromDHCP:
		return "dhcp"
	default:
		return "frame"
	}
}

// Binding is one IP address of a MAC.
type Binding struct {
	IP   netip.Addr
	From Source
	Seen time.Time
}

// Entry is what is known of one MAC.
type Entry struct {
	MAC   MAC
	Owner topology.NodeID // Local, or the peer behind which it is
	Since time.Time       // when it appeared at this owner
	Seen  time.Time       // last sight, exact to a tenth of the lifetime
	Moves int             // how often it changed its owner
	IPs   []Binding       // most recent first, at most MaxIPs
}

// MaxIPs bounds the IP addresses that are remembered of one MAC; the longest unseen goes first.
const MaxIPs = 16

// bind notes an address, keeping the most recent first.
func (e *Entry) bind(now time.Time, ip netip.Addr, from Source) {
	at := -1
	for i := range e.IPs {
		if e.IPs[i].IP == ip {
			at = i
			break
		}
	}
	if at < 0 {
		if len(e.IPs) < MaxIPs {
			e.IPs = append(e.IPs, Binding{})
		}
		at = len(e.IPs) - 1
	}
	copy(e.IPs[1:at+1], e.IPs[:at])
	e.IPs[0] = Binding{IP: ip, From: from, Seen: now}
}
