package rtnl

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// target is the namespace that something is plugged into, seen from inside.
type target struct {
	ns    *os.File
	links *netlink.Handle
	host  bool // it is the host's own
}

// free returns an error if an interface name that was asked for is taken.
func (t *target) free(name string) error {
	if name == "" {
		return nil
	}
	if _, err := t.links.LinkByName(name); err == nil {
		return taken(name)
	}
	return nil
}

func taken(name string) error {
	return fmt.Errorf("there is an interface %s in the target already: choose another name with --as", name)
}

// rename gives the inner end its name: the one asked for, or the first free one.
func (t *target) rename(inner *netlink.Link, wanted string) error {
	base := targetInterface
	if t.host {
		base = hostInterface
	}
	for i := range 1000 {
		name := base
		switch {
		case wanted != "":
			name = wanted
		case i > 0:
			name += strconv.Itoa(i)
		}
		err := t.links.LinkSetName(*inner, name)
		if err == nil {
			*inner, err = t.links.LinkByIndex((*inner).Attrs().Index)
			return err
		}
		if !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("name the interface %s: %w", name, err)
		}
		if wanted != "" {
			return taken(wanted)
		}
	}
	return fmt.Errorf("all names from %s on are taken in the target", base)
}

// settle gives the inner end what the spec says. Addresses beyond it stay.
func (t *target) settle(inner netlink.Link, s PortSpec) error {
	a := inner.Attrs()
	if !bytes.Equal(a.HardwareAddr, s.MAC) {
		if err := t.links.LinkSetHardwareAddr(inner, s.MAC); err != nil {
			return fmt.Errorf("%s: set MAC %s: %w", a.Name, s.MAC, err)
		}
	}
	if a.MTU != s.MTU {
		if err := t.links.LinkSetMTU(inner, s.MTU); err != nil {
			return fmt.Errorf("%s: set mtu %d: %w", a.Name, s.MTU, err)
		}
	}
	// Old kernels cannot, and then large frames cost a second call.
	if err := t.links.LinkSetGSOMaxSize(inner, GSOMaxSize); err != nil && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%s: set the largest segmentation frame: %w", a.Name, err)
	}
	if t.host {
		// Nobody on the network may give this host addresses and routes (CVE-2020-13401 and its like).
		if err := sysctl6(t.ns, a.Name, "accept_ra", "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: refuse router advertisements: %w", a.Name, err)
		}
	}
	if slices.ContainsFunc(s.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		// Docker switches IPv6 off in containers whose own networks have none.
		if err := sysctl6(t.ns, a.Name, "disable_ipv6", "0"); err != nil {
			return fmt.Errorf("%s: switch IPv6 on: %w", a.Name, err)
		}
	}
	if err := t.links.LinkSetUp(inner); err != nil {
		return fmt.Errorf("%s: bring up: %w", a.Name, err)
	}
	for _, p := range s.Addresses {
		address := &netlink.Addr{IPNet: ipNet(p)}
		if p.Addr().Is6() {
			address.Flags = unix.IFA_F_NODAD // it is announced instead, and usable at once
		}
		if err := t.links.AddrReplace(inner, address); err != nil {
			return fmt.Errorf("%s: add %s: %w", a.Name, p, err)
		}
	}
	if t.host || !slices.ContainsFunc(s.Addresses, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
		return nil
	}
	return t.multicast(inner)
}

// multicast sends IPv4 multicast into the network, unless the target says otherwise already.
func (t *target) multicast(inner netlink.Link) error {
	all := &net.IPNet{IP: net.IPv4(224, 0, 0, 0).To4(), Mask: net.CIDRMask(4, 32)}
	routes, err := t.links.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: all}, netlink.RT_FILTER_DST)
	if err != nil {
		return fmt.Errorf("list the target's routes: %w", err)
	}
	if len(routes) > 0 {
		return nil
	}
	route := &netlink.Route{LinkIndex: inner.Attrs().Index, Dst: all, Scope: netlink.SCOPE_LINK}
	if err := t.links.RouteAdd(route); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("%s: route for multicast: %w", inner.Attrs().Name, err)
	}
	return nil
}

// addresses returns what the inner end has, link-local addresses aside.
func (t *target) addresses(inner netlink.Link) ([]netip.Prefix, error) {
	list, err := t.links.AddrList(inner, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", inner.Attrs().Name, err)
	}
	var all []netip.Prefix
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		if ones, _ := a.Mask.Size(); ok && !addr.Unmap().IsLinkLocalUnicast() {
			all = append(all, netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	slices.SortFunc(all, netip.Prefix.Compare)
	return all, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// RemoveAddresses takes addresses off an attachment, of which ID and Target matter, and leaves the rest of it. It is no
// error if one, or the attachment, is not there. The answer lists what is left.
func (e *Edge) RemoveAddresses(s PortSpec, remove []netip.Prefix) ([]netip.Prefix, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := &target{ns: s.Target}
	if s.Target == nil {
		t.ns, t.host = e.host, true
	}
	var err error
	if t.links, err = handleAt(t.ns); err != nil {
		return nil, fmt.Errorf("detach %s: netlink in the target: %w", s.ID, err)
	}
	defer t.links.Close()
	_, inner, err := e.locate(s.ID, t)
	if err != nil {
		return nil, fmt.Errorf("detach %s: %w", s.ID, err)
	}
	if inner == nil {
		return nil, nil
	}
	for _, p := range remove {
		err := t.links.AddrDel(inner, &netlink.Addr{IPNet: ipNet(p)})
		if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil, fmt.Errorf("detach %s: remove %s: %w", s.ID, p, err)
		}
	}
	return t.addresses(inner)
}
