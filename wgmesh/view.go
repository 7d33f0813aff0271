package wgmesh

import (
	"fmt"
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
	NAT       string // see Core.nat
	Slots     []SlotView
	Rotating  bool // fresh keys are being moved to
	Device    DeviceView
	Peers     []PeerView // in id order
	Targets   []TargetView
	Networks  []NetworkView
	Sessions  int    // direct ones
	Clones    int    // times another node spoke with our identity
	Adopted   int    // tunnels of an earlier run that nobody claimed yet
	Graph     uint64 // hash of all records: equal at nodes that know the same
}

// SlotView is one of our own WireGuard devices.
type SlotView struct {
	Slot       Slot
	Name       string
	Port       uint16
	PublicKey  wgtypes.Key
	Generation uint32
	Since      time.Time
	Tunnels    int
	Retiring   bool // its tunnels move to a fresh key
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
	RTT        time.Duration
	Loss       float64
	MTU        int    // of the payload of the tunnel
	PathReason string // why the path in use is not direct
	Tunnels    []TunnelView
	Using      *TunnelView // one of Tunnels; nil: none carries
}

// TunnelView is one tunnel of a link.
type TunnelView struct {
	Slot       Slot
	Kind       topology.PathKind
	Stream     bool // an end's way to its relay is a TLS stream
	Via        []ViaView
	Endpoint   netip.AddrPort
	Candidates []netip.AddrPort
	Using      bool
	Retired    bool // another one took over
	Stage      topology.TunnelStage
	Key        wgtypes.Key // the peer's
	KeySince   time.Time
	PSK        bool
	PSKSince   time.Time
	Handshake  time.Time
	Rx, Tx     uint64
	Began      time.Time
}

// ViaView is one relay of a path.
type ViaView struct {
	ID   topology.NodeID
	Name string
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
		Rotating: !c.rotation.begun.IsZero(),
		Device:   DeviceView{Known: c.seenDevice, Kernel: c.device.Kernel, Reason: c.device.Reason, Err: c.deviceErr},
		Sessions: len(c.direct()), Clones: c.clone.count(c.now), Adopted: len(c.adopted), Graph: c.graph.Hash(),
	}
	for s := range Slot(topology.MaxSlots) {
		own := &c.slots[s]
		if !own.exists() {
			continue
		}
		slot := SlotView{Slot: s, Port: c.slotPort(s), PublicKey: own.public, Generation: own.generation, Since: own.since, Retiring: own.retiring}
		if have, ok := findSlot(c.device.Slots, s); ok {
			slot.Name, slot.Tunnels = have.Name, len(have.Peers)
		}
		v.Slots = append(v.Slots, slot)
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
		}
		return p
	}
	p.State, p.Reason, p.Since = l.state, l.reason, l.since
	if l.state != LinkUp && l.routedReason != "" && !p.Direct {
		p.Reason += "; over neighbours: " + l.routedReason
	}
	if l.state != LinkUp && l.relayWhy != "" {
		p.Reason += "; by relay: " + l.relayWhy
	}
	p.RTT, p.Loss = l.life.window.rtt, l.life.window.loss()
	for _, t := range l.tunnels {
		p.Tunnels = append(p.Tunnels, c.viewTunnel(l, t))
		if t == l.using {
			p.Using = &p.Tunnels[len(p.Tunnels)-1]
		}
	}
	if p.Using == nil {
		return p
	}
	// Tunnels may have moved in memory while the list grew.
	for i := range p.Tunnels {
		if p.Tunnels[i].Using {
			p.Using = &p.Tunnels[i]
		}
	}
	if p.Using.Kind != topology.PathDirect {
		p.PathReason = c.whyNotDirect(l)
	}
	return p
}

// whyNotDirect says why a link goes by relays.
func (c *Core) whyNotDirect(l *link) string {
	search := "a direct path is being looked for"
	if len(l.builds()) == 0 && l.directTries > 0 && c.now.Before(l.nextDirect) {
		search = fmt.Sprintf("no direct path found, next search in %d s", int(l.nextDirect.Sub(c.now).Seconds()))
	}
	if nat := c.nat(); nat == "hard" {
		search += "; the NAT here gives every destination another port"
	}
	return search
}

func (c *Core) viewTunnel(l *link, t *tunnel) TunnelView {
	v := TunnelView{
		Slot: t.slot, Kind: t.path.Kind, Stream: t.path.Stream || t.theirStream, Endpoint: t.endpoint, Using: t == l.using, Retired: t.retired,
		Stage: t.stage(c.now), Key: t.key, KeySince: t.keySince, PSK: t.psk.key != (wgtypes.Key{}), PSKSince: t.psk.since,
		Handshake: t.handshake, Rx: t.rx, Tx: t.tx, Began: t.began, Candidates: c.candidates(l, t),
	}
	for _, id := range l.viaFrom(t) {
		v.Via = append(v.Via, ViaView{id, c.name(id)})
	}
	return v
}

func (c *Core) viewTarget(t topology.Target) TargetView {
	v := TargetView{Address: t.Address, Source: t.Source.String(), State: t.State.String(), Reason: t.Reason, Next: t.Next}
	if id, ok := c.contacts.leads[t.Address]; ok && c.sessionIsDirect(id) {
		v.State, v.Reason = "connected", ""
	}
	return v
}
