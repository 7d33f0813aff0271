package wgmesh

import (
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// View is what the core knows, for status: a copy that may leave the goroutine of the core.
type View struct {
	Self      topology.NodeID
	Address   netip.Addr
	Addresses []netip.Addr
	NAT       string // unknown, none, mapped
	Slot      SlotView
	Device    DeviceView
	Peers     []PeerView // in id order
	Targets   []TargetView
	Networks  []NetworkView
	Sessions  int    // direct ones
	Clones    int    // times another node spoke with our identity
	Adopted   int    // tunnels of an earlier run that nobody claimed yet
	Graph     uint64 // hash of all records: equal at nodes that know the same
}

// SlotView is our own WireGuard device.
type SlotView struct {
	Name       string
	Port       uint16
	PublicKey  wgtypes.Key
	Generation uint32
	Since      time.Time
	Tunnels    int
}

// DeviceView is what the edge said of WireGuard at large.
type DeviceView struct {
	Known  bool
	Kernel bool
	Reason string
	Err    string
}

// PeerView is one other node.
type PeerView struct {
	ID         topology.NodeID
	Name       string
	Software   string
	Overlay    netip.Addr
	State      LinkState
	Reason     string
	Since      time.Time
	Control    bool // a session, or a way for one
	Direct     bool // a session of its own
	Left       bool
	Absent     time.Duration // since it was last seen; 0: present
	Endpoint   netip.AddrPort
	RTT        time.Duration
	Loss       float64
	MTU        int // of the payload of the tunnel
	Handshake  time.Time
	Rx, Tx     uint64
	PublicKey  wgtypes.Key
	Generation uint32
	KeySince   time.Time
	PSK        bool
	PSKSince   time.Time
}

// TargetView is one named target.
type TargetView struct {
	Address string
	Source  string // config, connect
	State   string // connected, dialling, waiting
	Reason  string
	Next    time.Time
}

// NetworkView is one network as the mesh has it.
type NetworkView struct {
	Name    string
	VNI     uint32
	MTU     int
	Members []string // names, self first
}

// View makes one.
func (c *Core) View() View {
	v := View{
		Self: c.self, Address: topology.OverlayAddress(c.settings.Mesh, c.self), Addresses: c.ownAddrs(), NAT: c.nat(),
		Slot:     SlotView{Port: c.settings.Port, PublicKey: c.slot.public, Generation: c.slot.generation, Since: c.slot.since},
		Device:   DeviceView{Known: c.seenDevice, Kernel: c.device.Kernel, Reason: c.device.Reason, Err: c.deviceErr},
		Sessions: len(c.direct()), Clones: c.clone.count(c.now), Adopted: len(c.adopted), Graph: c.graph.Hash(),
	}
	if slot, ok := findSlot(c.device.Slots, 0); ok {
		v.Slot.Name, v.Slot.Tunnels = slot.Name, len(slot.Peers)
	}
	for id, rec := range c.graph.All() {
		if id != c.self {
			v.Peers = append(v.Peers, c.viewPeer(id, rec))
		}
	}
	for _, t := range c.contacts.targets.List() {
		if t.Source != topology.Discovered {
			v.Targets = append(v.Targets, c.viewTarget(t))
		}
	}
	for _, n := range c.settings.Networks {
		network := NetworkView{Name: n.Name, VNI: n.VNI, MTU: c.networkMTU(n), Members: []string{c.settings.Name}}
		for id, rec := range c.graph.All() {
			if id != c.self && !rec.Left && c.isMember(id, n.VNI) {
				network.Members = append(network.Members, rec.Name)
			}
		}
		v.Networks = append(v.Networks, network)
	}
	return v
}

func (c *Core) viewPeer(id topology.NodeID, rec *topology.Record) PeerView {
	p := PeerView{
		ID: id, Name: rec.Name, Software: rec.Software, Overlay: topology.OverlayAddress(c.settings.Mesh, id),
		Control: c.isPresent(id), Direct: c.sessionIsDirect(id), Left: rec.Left, MTU: int(min(c.mtu, rec.MTU)),
	}
	if !p.Control {
		p.Absent = c.now.Sub(c.present[id])
	}
	l := c.links[id]
	if l == nil {
		switch {
		case rec.Left:
			p.Reason = "taken down"
		case !c.shares(rec):
			p.Reason = "no network in common"
		case len(rec.Slots) == 0:
			p.Reason = "its record states no WireGuard key"
		default:
			p.Reason = c.takenKey(id, rec.Slots[0].Key)
		}
		return p
	}
	t := &l.tunnel
	p.State, p.Reason, p.Since = l.state, l.reason, l.since
	if l.state != LinkUp && l.routedReason != "" && !p.Direct {
		p.Reason += "; over neighbours: " + l.routedReason
	}
	p.Endpoint, p.RTT, p.Loss = t.endpoint, l.probes.rtt, l.probes.loss()
	p.Handshake, p.Rx, p.Tx = t.handshake, t.rx, t.tx
	p.PublicKey, p.Generation, p.KeySince = t.key, t.generation, t.keySince
	p.PSK, p.PSKSince = t.psk != (wgtypes.Key{}), t.pskSince
	return p
}

func (c *Core) viewTarget(t topology.Target) TargetView {
	v := TargetView{Address: t.Address, Source: t.Source.String(), State: t.State.String(), Reason: t.Reason, Next: t.Next}
	if id, ok := c.contacts.leads[t.Address]; ok && c.sessionIsDirect(id) {
		v.State, v.Reason = "connected", ""
	}
	return v
}

// nat judges from what peers see whether something translates our address.
func (c *Core) nat() string {
	if len(c.observed) == 0 {
		return "unknown"
	}
	for _, e := range c.observed {
		own := false
		for _, a := range c.ownAddrs() {
			own = own || a == e.Addr.Addr().Unmap()
		}
		if !own || e.Addr.Port() != c.settings.Port {
			return "mapped"
		}
	}
	return "none"
}
