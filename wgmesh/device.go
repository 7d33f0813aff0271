package wgmesh

import (
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Slot numbers one of this node's WireGuard devices, 0 to topology.MaxSlots-1.
type Slot uint8

// Keepalive is the persistent keepalive of every tunnel: it keeps NAT mappings open and, set anew after a restart,
// makes this side speak at once (without it a restarted side is heard after 15 s: WireGuard's own timer).
const Keepalive = 25 * time.Second

// PeerSpec is one tunnel as it should be: a peer entry on a slot.
type PeerSpec struct {
	Key wgtypes.Key // the peer's slot key
	PSK wgtypes.Key
	// Endpoint is where to send handshakes. Invalid: unknown, wait to be spoken to.
	Endpoint netip.AddrPort
	// Move asks that Endpoint be written to an existing tunnel as well. The core sets it only while the tunnel has no
	// live session: after that WireGuard roams by itself.
	Move bool
	// Allowed is what may come out of the tunnel and what is routed into it: the peer's overlay address.
	Allowed []netip.Prefix
}

// SlotSpec is one WireGuard device as it should be.
type SlotSpec struct {
	Slot Slot
	// PrivateKey is what a device made anew gets. An existing device keeps the key it has: changing a key in place stops
	// traffic for 4 to 5 s.
	PrivateKey wgtypes.Key
	Port       uint16     // UDP, in the namespace that the daemon was started in
	MTU        int        // bytes; never below 1350
	Peers      []PeerSpec // in key order
}

// DeviceSpec is the whole data plane of one node as it should be.
type DeviceSpec struct {
	Address netip.Addr // the node's overlay address, on lo
	Slots   []SlotSpec
	Routes  []Route // one per link, in address order
}

// Route sends what is for a peer's overlay address into the slot that carries its tunnel.
type Route struct {
	To   netip.Addr
	Slot Slot
}

// PeerStatus is one tunnel as the device reports it.
type PeerStatus struct {
	Key           wgtypes.Key
	PSK           wgtypes.Key
	Endpoint      netip.AddrPort
	LastHandshake time.Time // zero: never
	Rx, Tx        uint64    // bytes
	Keepalive     time.Duration
	Allowed       []netip.Prefix
}

// SlotStatus is one WireGuard device as it is.
type SlotStatus struct {
	Slot       Slot
	Name       string // interface name, in the overlay namespace
	PrivateKey wgtypes.Key
	PublicKey  wgtypes.Key
	Port       uint16
	MTU        int
	Up         bool
	Peers      []PeerStatus
}

// DeviceStatus is the data plane as observed.
type DeviceStatus struct {
	Kernel  bool       // WireGuard is the kernel's; else wireguard-go in child processes
	Reason  string     // why it is the one or the other
	Address netip.Addr // zero when lo does not hold it
	Slots   []SlotStatus
	Routes  []Route
}

// Device is the edge that carries decisions out (wgdev): Observe reads the kernel, Apply does the steps in order and
// stops at the first that fails. Both are called from one goroutine.
type Device interface {
	Observe() (DeviceStatus, error)
	Apply([]Op) error
	Close() error
}

// Op is one step of Apply. Each can be repeated without harm.
type Op interface{ op() }

// The steps, in the order in which Diff emits their kinds: adds, updates, removals.
type (
	// AddAddress puts the overlay address on lo and brings lo up.
	AddAddress struct{ Address netip.Addr }
	// AddSlot makes a device with a key and brings it up.
	AddSlot struct {
		Slot       Slot
		PrivateKey wgtypes.Key
		Port       uint16
		MTU        int
	}
	// SetSlot repairs a device in place: port, MTU, link state. Zero values leave as is; the key never changes.
	SetSlot struct {
		Slot Slot
		Port uint16
		MTU  int
		Up   bool
	}
	// AddPeer adds a tunnel, with its keepalive, so that this side speaks first.
	AddPeer struct {
		Slot Slot
		Peer PeerSpec
	}
	// SetPeer changes what differs and nothing else. Nil fields stay as they are.
	SetPeer struct {
		Slot      Slot
		Key       wgtypes.Key
		PSK       *wgtypes.Key
		Endpoint  *netip.AddrPort
		Allowed   []netip.Prefix // added, never replaced
		Keepalive bool           // set Keepalive again
	}
	// SetRoute makes or moves a route atomically.
	SetRoute struct{ Route }
	// DelRoute removes a route.
	DelRoute struct{ Route }
	// DelPeer removes a tunnel: its session ends at once.
	DelPeer struct {
		Slot Slot
		Key  wgtypes.Key
	}
	// DelSlot removes a device.
	DelSlot struct{ Slot Slot }
)

func (AddAddress) op() {}
func (AddSlot) op()    {}
func (SetSlot) op()    {}
func (AddPeer) op()    {}
func (SetPeer) op()    {}
func (SetRoute) op()   {}
func (DelRoute) op()   {}
func (DelPeer) op()    {}
func (DelSlot) op()    {}
