package wgdev_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weavewg/weavewg/wgmesh/wgdev"
)

func TestWatchSeesChanges(t *testing.T) {
	ns := namespace(t)
	links := linksAt(t, ns)
	ctx, cancel := context.WithCancel(t.Context())
	dirty, err := wgdev.Watch(ctx, ns)
	must(t, err)
	lo, err := links.LinkByName("lo")
	must(t, err)
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("fd00::1"), Mask: net.CIDRMask(128, 128)}}
	route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: net.ParseIP("fd00::2"), Mask: net.CIDRMask(128, 128)}}
	for _, change := range []func() error{
		func() error { return links.LinkSetUp(lo) },
		func() error { return links.AddrAdd(lo, address) },
		func() error { return links.RouteAdd(route) },
		func() error { return links.RouteDel(route) },
	} {
		quiet(dirty)
		must(t, change())
		select {
		case <-dirty:
		case <-time.After(5 * time.Second):
			t.Fatal("not seen")
		}
	}
	cancel()
	for range dirty { // until it is closed
	}
}

// quiet takes what is left of earlier changes.
func quiet(dirty <-chan struct{}) {
	for {
		select {
		case <-dirty:
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}
