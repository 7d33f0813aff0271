package lab

import (
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PathMTU makes a router pass on no packet larger than so many bytes, in any direction and of both IP versions: as if
// its cables were narrow. It answers what does not fit, as RFC 1191 and RFC 8201 want it, or with silent set says
// nothing: a black hole. It holds for the routes that the router has now, until undo is called.
func (h *Host) PathMTU(bytes int, silent bool) (undo func() error, err error) {
	widen, err := h.narrowRoutes(bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: path MTU of %d: %w", h.name, bytes, err)
	}
	if !silent {
		return widen, nil
	}
	speak, err := h.addTable(func(t table) error {
		t.filter("output", nftables.ChainHookOutput, nftables.ChainPriorityFilter,
			rule{}.proto(unix.IPPROTO_ICMP).eq(icmpTypeAndCode, []byte{3, 4}).drop(),   // fragmentation needed
			rule{}.proto(unix.IPPROTO_ICMPV6).eq(icmpTypeAndCode, []byte{2, 0}).drop()) // packet too big
		return nil
	})
	if err != nil {
		return nil, errors.Join(err, widen())
	}
	return func() error { return errors.Join(widen(), speak()) }, nil
}

// narrowRoutes gives every route of the main table an MTU, which forwarding obeys where it is locked. The interfaces
// keep theirs: one that is too small drops what is too large as it comes in, where no router would answer.
func (h *Host) narrowRoutes(bytes int) (undo func() error, err error) {
	nl := h.Netlink()
	routes, err := nl.RouteListFiltered(unix.AF_UNSPEC, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, err
	}
	routes = slices.DeleteFunc(routes, func(r netlink.Route) bool {
		return r.Dst != nil && (r.Dst.IP.IsLinkLocalUnicast() || r.Dst.IP.IsMulticast() || r.Dst.IP.Equal(net.IPv6loopback))
	})
	undo = func() error {
		var errs []error
		for _, r := range routes {
			errs = append(errs, nl.RouteReplace(&r))
		}
		return errors.Join(errs...)
	}
	for _, r := range routes {
		r.MTU, r.MTULock = bytes, true
		if err := nl.RouteReplace(&r); err != nil {
			return nil, errors.Join(fmt.Errorf("route %s: %w", r.Dst, err), undo())
		}
	}
	return undo, nil
}
