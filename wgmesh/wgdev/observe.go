package wgdev

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/wgmesh"
)

// Observe reads devices, tunnels, address and routes, and puts the namespace's settings and the guard rules back if
// somebody changed them. A device
// whose process was replaced shows without key and peers.
func (d *Device) Observe() (wgmesh.DeviceStatus, error) {
	status := wgmesh.DeviceStatus{Kernel: d.kernel, Reason: d.reason}
	if err := d.settle(); err != nil { // a module that is loaded later brings settings of its own
		return status, err
	}
	links, err := d.links.LinkList()
	if err != nil {
		return status, fmt.Errorf("list the overlay's interfaces: %w", err)
	}
	byIndex := make(map[int]wgmesh.Slot)
	for _, link := range links {
		if link.Attrs().Name == "lo" {
			if status.Address, err = d.overlayAddress(link); err != nil {
				return status, err
			}
		}
		slot, ours := d.slotOf(link.Attrs().Name)
		if !ours {
			continue
		}
		s, err := d.observeSlot(slot, link)
		if err != nil {
			return status, fmt.Errorf("slot %d (%s): %w", slot, link.Attrs().Name, err)
		}
		byIndex[link.Attrs().Index] = slot
		status.Slots = append(status.Slots, s)
	}
	slices.SortFunc(status.Slots, func(a, b wgmesh.SlotStatus) int { return int(a.Slot) - int(b.Slot) })
	if status.Routes, err = d.observeRoutes(byIndex); err != nil {
		return status, err
	}
	d.guard.keep(status.Address)
	return status, nil
}

func (d *Device) observeSlot(slot wgmesh.Slot, link netlink.Link) (wgmesh.SlotStatus, error) {
	attrs := link.Attrs()
	s := wgmesh.SlotStatus{Slot: slot, Name: attrs.Name, MTU: attrs.MTU, Up: attrs.Flags&net.FlagUp != 0}
	device, err := d.read(attrs.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil // its process does not run; the keeper says so too
	}
	if err != nil {
		return s, err
	}
	s.PrivateKey, s.PublicKey, s.Port = device.PrivateKey, device.PublicKey, uint16(device.ListenPort)
	if device.PrivateKey == (wgtypes.Key{}) {
		s.PublicKey = wgtypes.Key{}
	}
	for _, p := range device.Peers {
		s.Peers = append(s.Peers, peerStatus(p))
	}
	slices.SortFunc(s.Peers, func(a, b wgmesh.PeerStatus) int { return slices.Compare(a.Key[:], b.Key[:]) })
	return s, nil
}

// read asks a device for its state. While a dead userspace process is being replaced, its socket is there and refuses,
// or is not there: wait a moment, since that takes some 30 ms.
func (d *Device) read(name string) (*wgtypes.Device, error) {
	deadline := time.Now().Add(500 * time.Millisecond)
	for {
		device, err := d.wg.Device(name)
		if err == nil || d.kernel || time.Now().After(deadline) {
			return device, absent(err)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) && !errors.Is(err, unix.ECONNRESET) {
			return nil, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// absent makes a socket that nobody serves the same as none.
func absent(err error) error {
	if errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ECONNRESET) {
		return fs.ErrNotExist
	}
	return err
}

func peerStatus(p wgtypes.Peer) wgmesh.PeerStatus {
	s := wgmesh.PeerStatus{
		Key: p.PublicKey, PSK: p.PresharedKey, Keepalive: p.PersistentKeepaliveInterval,
		Rx: uint64(p.ReceiveBytes), Tx: uint64(p.TransmitBytes),
	}
	if p.LastHandshakeTime.Unix() > 0 {
		s.LastHandshake = p.LastHandshakeTime
	}
	if p.Endpoint != nil {
		s.Endpoint = unmapped(p.Endpoint.AddrPort())
	}
	for _, n := range p.AllowedIPs {
		if addr, ok := netip.AddrFromSlice(n.IP); ok {
			ones, _ := n.Mask.Size()
			s.Allowed = append(s.Allowed, netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	slices.SortFunc(s.Allowed, netip.Prefix.Compare)
	return s
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// overlayAddress returns the unique local /128 that lo holds, or the zero Addr.
func (d *Device) overlayAddress(lo netlink.Link) (netip.Addr, error) {
	addrs, err := d.links.AddrList(lo, netlink.FAMILY_V6)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list the addresses of lo: %w", err)
	}
	for _, a := range addrs {
		if addr, ok := netip.AddrFromSlice(a.IP); ok && addr.As16()[0] == 0xfd {
			return addr, nil
		}
	}
	return netip.Addr{}, nil
}

// observeRoutes lists the host routes through our devices, in address order.
func (d *Device) observeRoutes(slots map[int]wgmesh.Slot) ([]wgmesh.Route, error) {
	all, err := d.links.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list the overlay's routes: %w", err)
	}
	var routes []wgmesh.Route
	for _, r := range all {
		slot, ours := slots[r.LinkIndex]
		if !ours || r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP)
		if ones, bits := r.Dst.Mask.Size(); ok && ones == 128 && bits == 128 {
			routes = append(routes, wgmesh.Route{To: addr, Slot: slot})
		}
	}
	slices.SortFunc(routes, func(a, b wgmesh.Route) int { return a.To.Compare(b.To) })
	return routes, nil
}
