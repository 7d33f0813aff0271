package l2bridge

// Class sorts frames by how they find their way.
type Class uint8

// The classes.
const (
	Unicast   Class = iota // to a known station
	Broadcast              // to ff:ff:ff:ff:ff:ff
	Multicast              // to another group
	Unknown                // to a station that nobody has seen
	Classes                // how many there are
)

// String returns the name that metrics and captures show.
func (c Class) String() string {
	return [...]string{"unicast", "broadcast", "multicast", "unknown", "none"}[min(c, Classes)]
}

// Why is the reason of a verdict. Forwarded is the only one that lets a frame pass.
type Why uint8

// The reasons. Names are stable: metrics carry them.
const (
	Forwarded Why = iota

	// A frame that is not fit to be switched.
	Runt           // shorter than its own Ethernet header
	TooLong        // longer than the network's MTU and Ethernet header
	BadSource      // source address zero or a group
	ReservedGroup  // 01:80:c2:00:00:0x stays on its own link (IEEE 802.1D, 7.12.6)
	BadVLAN        // VLAN 4095 is reserved (IEEE 802.1Q)
	TooManyTags    // more than two VLAN tags
	BadOffload     // segmentation or checksum metadata that does not fit the frame
	CaptureTrimmed // longer than the capture buffer

	// A frame with nowhere to go.
	LocalDestination // the bridge delivers it here
	NoMembers        // nobody else is in the network
	PeerDown         // its node has no link that carries frames

	// A packet of the tunnel that is not ours to inject.
	VXLANShort    // no room for the header
	VXLANFlags    // not exactly the I flag (RFC 7348), such as GPE or group policy
	VXLANReserved // reserved bits set
	UnknownVNI    // no network with this number here
	NotMember     // the sender is not in this network

	// Failures of the system below.
	SendFailed
	InjectFailed
	CaptureOverflow // the kernel's queue to the capture was full
	TunnelOverflow  // the kernel's queue to the tunnel's socket was full

	Whys // how many there are
)

var whyNames = [Whys]string{
	"forwarded", "runt", "too-long", "bad-source", "reserved-group", "bad-vlan", "too-many-tags", "bad-offload",
	"capture-trimmed", "local-destination", "no-members", "peer-down", "vxlan-short", "vxlan-flags", "vxlan-reserved",
	"unknown-vni", "not-member", "send-failed", "inject-failed", "capture-overflow", "tunnel-overflow",
}

// String returns the stable name.
func (w Why) String() string {
	if w < Whys {
		return whyNames[w]
	}
	return "unknown"
}
