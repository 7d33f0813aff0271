package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// madeByEngines are names of interfaces that we or a container engine made: their addresses mean something else on
// every host, so nobody should try them.
var madeByEngines = regexp.MustCompile(`^(lo$|weavewg|docker|br-[0-9a-f]{12}$|veth[0-9a-f]{7}$|cni|flannel|cali|cilium|lxcbr|lxdbr|virbr|podman|wg-[0-9a-f]{8}-)`)

// underlay is what the host's own interfaces offer.
type underlay struct {
	addrs []netip.Addr
	mtu   uint16 // largest WireGuard payload
}

// readUnderlay lists the host's underlay addresses, those of the interface with the default route first, and what a
// WireGuard packet may carry on the narrowest of these interfaces.
func readUnderlay(h *netlink.Handle) (underlay, error) {
	links, err := h.LinkList()
	if err != nil {
		return underlay{}, fmt.Errorf("list interfaces: %w", err)
	}
	defaults := defaultInterfaces(h)
	slices.SortStableFunc(links, func(a, b netlink.Link) int {
		return rank(defaults, a) - rank(defaults, b)
	})
	var u underlay
	lowest, ipv6 := 0, false
	for _, link := range links {
		attrs := link.Attrs()
		if attrs.Flags&net.FlagUp == 0 || attrs.MasterIndex != 0 || madeByEngines.MatchString(attrs.Name) {
			continue
		}
		addrs, err := h.AddrList(link, unix.AF_UNSPEC)
		if err != nil {
			return underlay{}, fmt.Errorf("list addresses of %s: %w", attrs.Name, err)
		}
		used := false
		for _, a := range addrs {
			addr, ok := netip.AddrFromSlice(a.IP)
			if addr = addr.Unmap(); !ok || topology.CheckUnderlay(addr) != nil || a.Scope > unix.RT_SCOPE_SITE {
				continue
			}
			used = true
			ipv6 = ipv6 || addr.Is6()
			u.addrs = append(u.addrs, addr)
		}
		if used && (lowest == 0 || attrs.MTU < lowest) {
			lowest = attrs.MTU
		}
	}
	if lowest == 0 {
		lowest = 1500 // no address yet: Ethernet, until one comes
	}
	u.mtu = wgmesh.PayloadMTU(min(lowest, 65000), ipv6)
	return u, nil
}

func rank(defaults []int, l netlink.Link) int {
	if slices.Contains(defaults, l.Attrs().Index) {
		return 0
	}
	return 1
}

func defaultInterfaces(h *netlink.Handle) []int {
	var list []int
	routes, err := h.RouteList(nil, unix.AF_UNSPEC)
	if err != nil {
		return nil // then the order is the kernel's
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			list = append(list, r.LinkIndex)
		}
	}
	return list
}

// watchUnderlay posts the addresses whenever they change, until ctx ends.
func watchUnderlay(ctx context.Context, h *netlink.Handle, first underlay, post func(wgmesh.Event), failed func(error)) error {
	updates := make(chan netlink.AddrUpdate, 64)
	links := make(chan netlink.LinkUpdate, 64)
	if err := netlink.AddrSubscribe(updates, ctx.Done()); err != nil {
		return fmt.Errorf("subscribe to address changes: %w", err)
	}
	if err := netlink.LinkSubscribe(links, ctx.Done()); err != nil {
		return fmt.Errorf("subscribe to link changes: %w", err)
	}
	settle := time.NewTimer(time.Hour)
	defer settle.Stop()
	regular := time.NewTicker(time.Minute) // a lost notification costs a minute, not the mesh
	defer regular.Stop()
	last := first
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-updates:
			if !ok {
				updates = nil
			}
			settle.Reset(100 * time.Millisecond)
			continue
		case _, ok := <-links:
			if !ok {
				links = nil
			}
			settle.Reset(100 * time.Millisecond)
			continue
		case <-settle.C:
		case <-regular.C:
		}
		now, err := readUnderlay(h)
		failed(err)
		if err == nil && (now.mtu != last.mtu || !slices.Equal(now.addrs, last.addrs)) {
			last = now
			post(wgmesh.AddressesChanged{Addrs: now.addrs, MTU: now.mtu})
		}
	}
}
