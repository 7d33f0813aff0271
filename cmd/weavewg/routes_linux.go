package main

import (
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/config"
)

// hostRoutes lists the host's routes of the main table, without those of our own interfaces (`expose` makes them). They
// are for warnings only: a kernel that does not tell is no reason to stop.
func hostRoutes() []config.Route {
	list, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil
	}
	names := map[int]string{}
	if links, err := netlink.LinkList(); err == nil {
		for _, l := range links {
			names[l.Attrs().Index] = l.Attrs().Name
		}
	}
	var routes []config.Route
	for _, r := range list {
		name := names[r.LinkIndex]
		if r.Dst == nil || strings.HasPrefix(name, "weavewg") {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP)
		bits, _ := r.Dst.Mask.Size()
		if addr = addr.Unmap(); ok && !addr.IsLinkLocalUnicast() && !addr.IsMulticast() {
			routes = append(routes, config.Route{Prefix: netip.PrefixFrom(addr, bits), Device: name})
		}
	}
	return routes
}
