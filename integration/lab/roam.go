package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// SetAddr replaces an address of the host on this link by another. Routes by gateways that the new address still
// reaches stay.
func (k *Link) SetAddr(was, is netip.Prefix) error {
	i := slices.Index(k.Addrs, was)
	if i < 0 {
		return fmt.Errorf("%s, %s: it has no address %s", k.Host.name, k.Interface, was)
	}
	addrs := slices.Clone(k.Addrs)
	addrs[i] = is
	return k.setAddrs(addrs)
}

// setAddrs replaces the host's addresses on this link. The kernel drops routes with the last address.
func (k *Link) setAddrs(addrs []netip.Prefix) error {
	nl := k.Host.Netlink()
	dev, err := nl.LinkByName(k.Interface)
	if err != nil {
		return err
	}
	routes, err := nl.RouteListFiltered(unix.AF_UNSPEC, &netlink.Route{LinkIndex: dev.Attrs().Index, Table: unix.RT_TABLE_MAIN},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	if err != nil {
		return err
	}
	for _, a := range k.Addrs {
		if !slices.Contains(addrs, a) {
			err = errors.Join(err, nl.AddrDel(dev, &netlink.Addr{IPNet: ipNet(a)}))
		}
	}
	for _, a := range addrs {
		if !slices.Contains(k.Addrs, a) {
			err = errors.Join(err, addAddr(nl, dev, a))
		}
	}
	for _, r := range routes {
		if via, ok := netip.AddrFromSlice(r.Gw); ok && onLink(addrs, via.Unmap()) {
			r.Src = nil
			err = errors.Join(err, nl.RouteReplace(&r))
		}
	}
	if err != nil {
		return fmt.Errorf("%s, %s: addresses: %w", k.Host.name, k.Interface, err)
	}
	k.Addrs = addrs
	return nil
}

func onLink(addrs []netip.Prefix, via netip.Addr) bool {
	return slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Contains(via) })
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// Move pulls the host's cable out of its switch and plugs it into another one, with other addresses and default routes
// by these gateways. Filters of the old switch that name the link no longer apply.
func (k *Link) Move(to *Switch, addrs []netip.Prefix, gateways ...netip.Addr) error {
	if err := k.move(to, addrs, gateways); err != nil {
		return fmt.Errorf("move %s to %s: %w", k.Host.name, to.name, err)
	}
	return nil
}

func (k *Link) move(to *Switch, addrs []netip.Prefix, gateways []netip.Addr) error {
	if err := k.SetUp(false); err != nil {
		return err
	}
	if err := k.setAddrs(addrs); err != nil {
		return err
	}
	if err := k.forgetNeighbours(); err != nil {
		return err
	}
	if err := k.plugInto(to); err != nil {
		return err
	}
	if err := errors.Join(k.SetUp(true), k.awaitCarrier()); err != nil {
		return err
	}
	for _, via := range gateways {
		if err := k.Host.AddRoute(defaultRoute(via), via); err != nil {
			return err
		}
	}
	return nil
}

// forgetNeighbours does what the kernel does when a cable is pulled; the host does not notice at the end of a Wire.
func (k *Link) forgetNeighbours() error {
	nl := k.Host.Netlink()
	dev, err := nl.LinkByName(k.Interface)
	if err != nil {
		return err
	}
	known, err := nl.NeighList(dev.Attrs().Index, unix.AF_UNSPEC)
	if err != nil {
		return err
	}
	for _, n := range known {
		if n.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 {
			continue
		}
		if err := nl.NeighDel(&n); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("neighbour %s: %w", n.IP, err)
		}
	}
	return nil
}

// plugInto makes the link one of another switch's.
func (k *Link) plugInto(to *Switch) error {
	nl := k.sw.lab.underlay.Netlink()
	port, err := nl.LinkByName(k.Port)
	if err == nil {
		err = nl.LinkSetMaster(port, to.bridge)
	}
	if err != nil {
		return err
	}
	from := k.sw
	from.mu.Lock()
	from.links = slices.DeleteFunc(from.links, func(other *Link) bool { return other == k })
	from.filters = slices.DeleteFunc(from.filters, func(f *Filter) bool { return f.From == k || f.To == k })
	err = from.applyFilters()
	from.mu.Unlock()
	k.sw = to
	to.mu.Lock()
	defer to.mu.Unlock()
	to.links = append(to.links, k)
	return errors.Join(err, to.applyFilters())
}

// defaultRoute is everything of a gateway's family.
func defaultRoute(via netip.Addr) netip.Prefix {
	if via.Is4() {
		return anywhere
	}
	return netip.MustParsePrefix("::/0")
}
