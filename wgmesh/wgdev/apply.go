package wgdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/wgmesh"
)

// Apply does the steps in order and stops at the first that fails; what was done stays, and Observe shows it.
func (d *Device) Apply(ops []wgmesh.Op) error {
	for _, op := range ops {
		if err := d.apply(op); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) apply(op wgmesh.Op) error {
	switch op := op.(type) {
	case wgmesh.AddAddress:
		return wrap(d.addAddress(op.Address), "overlay address %s", op.Address)
	case wgmesh.AddSlot:
		return wrap(d.addSlot(op), "slot %d (%s)", op.Slot, d.Name(op.Slot))
	case wgmesh.SetSlot:
		return wrap(d.setSlot(op), "slot %d (%s)", op.Slot, d.Name(op.Slot))
	case wgmesh.DelSlot:
		return wrap(d.delSlot(op.Slot), "slot %d (%s): remove", op.Slot, d.Name(op.Slot))
	case wgmesh.AddPeer:
		return wrap(d.addPeer(op), "slot %d, peer %s: add", op.Slot, short(op.Peer.Key))
	case wgmesh.SetPeer:
		return wrap(d.setPeer(op), "slot %d, peer %s", op.Slot, short(op.Key))
	case wgmesh.DelPeer:
		return wrap(d.delPeer(op), "slot %d, peer %s: remove", op.Slot, short(op.Key))
	case wgmesh.SetRoute:
		return wrap(d.setRoute(op.Route), "route to %s by slot %d", op.To, op.Slot)
	case wgmesh.DelRoute:
		return wrap(d.delRoute(op.Route), "route to %s by slot %d: remove", op.To, op.Slot)
	default:
		return fmt.Errorf("wgdev: unknown step %T", op)
	}
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// short is enough of a public key to tell peers apart.
func short(k wgtypes.Key) string { return k.String()[:8] + "…" }

// addAddress holds the address on lo, where no tunnel's end can take it away.
func (d *Device) addAddress(a netip.Addr) error {
	lo, err := d.links.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := d.links.LinkSetUp(lo); err != nil {
		return err
	}
	err = d.links.AddrReplace(lo, &netlink.Addr{IPNet: hostNet(a), Flags: unix.IFA_F_NODAD})
	if err != nil {
		return err
	}
	old, err := d.links.AddrList(lo, netlink.FAMILY_V6)
	if err != nil {
		return err
	}
	for _, o := range old { // of another mesh's name, before the configuration changed
		if addr, ok := netip.AddrFromSlice(o.IP); ok && addr != a && addr.As16()[0] == 0xfd {
			if err := d.links.AddrDel(lo, &o); err != nil {
				return fmt.Errorf("remove %s: %w", addr, err)
			}
		}
	}
	d.guard.keep(a)
	return nil
}

func hostNet(a netip.Addr) *net.IPNet {
	return &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func (d *Device) addPeer(op wgmesh.AddPeer) error {
	c := wgtypes.PeerConfig{
		PublicKey: op.Peer.Key, PresharedKey: &op.Peer.PSK, PersistentKeepaliveInterval: keepalive(),
		AllowedIPs: nets(op.Peer.Allowed), Endpoint: endpoint(op.Peer.Endpoint),
	}
	return d.configure(op.Slot, wgtypes.Config{Peers: []wgtypes.PeerConfig{c}})
}

func (d *Device) setPeer(op wgmesh.SetPeer) error {
	c := wgtypes.PeerConfig{PublicKey: op.Key, UpdateOnly: true, PresharedKey: op.PSK, AllowedIPs: nets(op.Allowed)}
	if op.Endpoint != nil {
		c.Endpoint = endpoint(*op.Endpoint)
	}
	if op.Keepalive {
		c.PersistentKeepaliveInterval = keepalive()
	}
	if err := d.configure(op.Slot, wgtypes.Config{Peers: []wgtypes.PeerConfig{c}}); err != nil {
		return err
	}
	// An update of a peer that is not there succeeds, and does nothing.
	device, err := d.wg.Device(d.Name(op.Slot))
	if err != nil {
		return err
	}
	for _, p := range device.Peers {
		if p.PublicKey == op.Key {
			return nil
		}
	}
	return errors.New("there is no such peer")
}

func (d *Device) delPeer(op wgmesh.DelPeer) error {
	return d.configure(op.Slot, wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: op.Key, Remove: true, UpdateOnly: true}}})
}

func (d *Device) configure(s wgmesh.Slot, c wgtypes.Config) error {
	return d.wg.ConfigureDevice(d.Name(s), c)
}

func keepalive() *time.Duration { every := wgmesh.Keepalive; return &every }

func nets(prefixes []netip.Prefix) []net.IPNet {
	var all []net.IPNet
	for _, p := range prefixes {
		all = append(all, net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	return all
}

func endpoint(a netip.AddrPort) *net.UDPAddr {
	if !a.IsValid() {
		return nil
	}
	return net.UDPAddrFromAddrPort(a)
}

func (d *Device) setRoute(r wgmesh.Route) error {
	route, err := d.route(r)
	if err != nil {
		return err
	}
	return d.links.RouteReplace(route)
}

func (d *Device) delRoute(r wgmesh.Route) error {
	route, err := d.route(r)
	if err != nil {
		return gone(err) // its device is gone, and so is the route
	}
	return gone(d.links.RouteDel(route))
}

// route sends from our overlay address, which is what the other end's tunnel accepts.
func (d *Device) route(r wgmesh.Route) (*netlink.Route, error) {
	link, err := d.links.LinkByName(d.Name(r.Slot))
	if err != nil {
		return nil, err
	}
	lo, err := d.links.LinkByName("lo")
	if err != nil {
		return nil, err
	}
	own, err := d.overlayAddress(lo)
	if err != nil {
		return nil, err
	}
	if !own.IsValid() {
		return nil, errors.New("lo holds no overlay address yet")
	}
	return &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: hostNet(r.To), Src: own.AsSlice(), Protocol: unix.RTPROT_STATIC, Table: unix.RT_TABLE_MAIN,
	}, nil
}

// gone makes the absence of what was to be removed a success.
func gone(err error) error {
	var none netlink.LinkNotFoundError
	if errors.As(err, &none) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
