package rtnl_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/l2bridge/rtnl"
)

func TestPluggedInNamespacesTalk(t *testing.T) {
	w := newWorld(t)
	w.converge(oneNetwork())
	a, b := kept(t), kept(t)
	for i, ns := range []*os.File{a, b} {
		s := port(fmt.Sprint("id", i), byte(i+1), ns)
		got, err := w.edge.Plug(s)
		must(t, err)
		if got.Interface != "ethwe" || !slices.Equal(got.Addresses, s.Addresses) || got.MAC.String() != s.MAC.String() {
			t.Errorf("plugged in as %+v, want %+v", got, s)
		}
	}
	for _, address := range port("", 2, nil).Addresses {
		talks(t, a, b, address.Addr())
	}
	inner, err := linksAt(t, a).LinkByName("ethwe")
	must(t, err)
	limit := inner.Attrs().GSOIPv4MaxSize
	if limit == 0 { // before Linux 6.3 there is one limit for both
		limit = inner.Attrs().GSOMaxSize
	}
	if inner.Attrs().GSOMaxSize != rtnl.GSOMaxSize || limit != rtnl.GSOMaxSize {
		t.Errorf("segmentation frames of up to %d and %d bytes", inner.Attrs().GSOMaxSize, limit)
	}
	routes, err := linksAt(t, a).RouteList(inner, netlink.FAMILY_V4)
	must(t, err)
	if !slices.ContainsFunc(routes, func(r netlink.Route) bool { return r.Dst != nil && r.Dst.String() == "224.0.0.0/4" }) {
		t.Errorf("no route for multicast in %v", routes)
	}
	status, err := w.edge.Observe()
	must(t, err)
	if len(status.Ports) != 2 {
		t.Fatalf("observed %+v", status.Ports)
	}
	for _, p := range status.Ports {
		if !p.Bridged || p.Unfinished || p.VNI != blue || p.Interface != "ethwe" || !strings.HasPrefix(p.ID, "id") || p.Link != l2bridge.PortName(p.ID) {
			t.Errorf("observed %+v", p)
		}
	}
	macs, err := w.edge.LocalMACs(blue)
	must(t, err)
	if !slices.ContainsFunc(macs, func(m net.HardwareAddr) bool { return m.String() == "02:00:00:00:00:01" }) {
		t.Errorf("the bridge has not learnt who spoke: %v", macs)
	}
}

func TestPluggingTwiceChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.converge(oneNetwork())
	ns := kept(t)
	s := port("one", 1, ns)
	_, err := w.edge.Plug(s)
	must(t, err)
	before := w.link(l2bridge.PortName("one")).Attrs().Index
	inside := linksAt(t, ns)
	inner, err := inside.LinkByName("ethwe")
	must(t, err)
	must(t, inside.AddrDel(inner, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 32, 0, 1), Mask: net.CIDRMask(12, 32)}}))
	must(t, inside.LinkSetMTU(inner, 1500))
	s.MAC, s.MTU = net.HardwareAddr{2, 0, 0, 0, 0, 99}, 1300
	got, err := w.edge.Plug(s)
	must(t, err)
	inner, err = inside.LinkByName("ethwe")
	must(t, err)
	if now := w.link(l2bridge.PortName("one")).Attrs().Index; now != before || !slices.Equal(got.Addresses, s.Addresses) ||
		inner.Attrs().MTU != 1300 || w.link(l2bridge.PortName("one")).Attrs().MTU != 1300 || inner.Attrs().HardwareAddr.String() != s.MAC.String() {
		t.Errorf("link %d became %d, %+v, %+v", before, now, got, inner.Attrs())
	}

	left, err := w.edge.RemoveAddresses(rtnl.PortSpec{ID: s.ID, Target: ns}, s.Addresses[:1])
	must(t, err)
	if !slices.Equal(left, s.Addresses[1:]) {
		t.Errorf("left over: %v", left)
	}
	if left, err = w.edge.RemoveAddresses(s, s.Addresses); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
	must(t, w.edge.Unplug("one"))
	must(t, w.edge.Unplug("one"))
	if left, err = w.edge.RemoveAddresses(s, s.Addresses); err != nil || len(left) != 0 {
		t.Errorf("of nothing there is left: %v, %v", left, err)
	}
	if _, err := inside.LinkByName("ethwe"); err == nil {
		t.Error("the interface is still there")
	}
}

// A container that was started anew has the old one's attachment in a namespace that may live on a while.
func TestAttachmentMovesToANewTarget(t *testing.T) {
	w := newWorld(t)
	w.converge(oneNetwork())
	old, now, other := kept(t), kept(t), kept(t)
	_, err := w.edge.Plug(port("one", 1, old))
	must(t, err)
	_, err = w.edge.Plug(port("one", 1, now))
	must(t, err)
	_, err = w.edge.Plug(port("two", 2, other))
	must(t, err)
	talks(t, other, now, port("", 1, nil).Addresses[0].Addr())
	if _, err := linksAt(t, old).LinkByName("ethwe"); err == nil {
		t.Error("the old namespace is still plugged in")
	}
}

func TestSecondAttachmentGetsAnotherName(t *testing.T) {
	w := newWorld(t)
	w.converge(oneNetwork())
	ns := kept(t)
	for i, want := range []string{"ethwe", "ethwe1", "ethwe2"} {
		got, err := w.edge.Plug(port(want, byte(i+1), ns))
		must(t, err)
		if got.Interface != want {
			t.Errorf("attachment %d is %s, want %s", i, got.Interface, want)
		}
	}
}

func TestRefusedPortsLeaveNothingBehind(t *testing.T) {
	w := newWorld(t)
	w.converge(oneNetwork())
	ns := kept(t)
	_, err := w.edge.Plug(port("there", 1, ns))
	must(t, err)
	cases := map[string]struct {
		change func(*rtnl.PortSpec)
		says   string
	}{
		"name taken":          {func(s *rtnl.PortSpec) { s.Interface = "ethwe" }, "interface ethwe in the target already"},
		"name too long":       {func(s *rtnl.PortSpec) { s.Interface = "abcdefghijklmnop" }, "no interface name"},
		"name with a slash":   {func(s *rtnl.PortSpec) { s.Interface = "../x" }, "no interface name"},
		"multicast MAC":       {func(s *rtnl.PortSpec) { s.MAC = net.HardwareAddr{1, 0, 0, 0, 0, 1} }, "no address of an interface"},
		"unknown network":     {func(s *rtnl.PortSpec) { s.VNI = 5 }, "000005 has no bridge"},
		"the overlay":         {func(s *rtnl.PortSpec) { s.Target = w.overlay }, "overlay namespace"},
		"impossible MTU":      {func(s *rtnl.PortSpec) { s.MTU = 1 << 20 }, "veth"},
		"IPv6 below its MTU":  {func(s *rtnl.PortSpec) { s.MTU = 1000 }, "switch IPv6 on"},
		"rename of what is":   {func(s *rtnl.PortSpec) { s.ID, s.Interface = "there", "other" }, "already, as ethwe"},
		"target of something": {func(s *rtnl.PortSpec) { s.Target = mustOpen(t, "/proc/self/ns/mnt") }, "target"},
	}
	before := len(list(t, w.links)) + len(list(t, linksAt(t, ns)))
	for name, c := range cases {
		s := port("new", 9, ns)
		c.change(&s)
		_, err := w.edge.Plug(s)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
		if after := len(list(t, w.links)) + len(list(t, linksAt(t, ns))); after != before {
			t.Errorf("%s: %d links became %d", name, before, after)
		}
	}
}

func mustOpen(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func list(t *testing.T, h *netlink.Handle) []netlink.Link {
	t.Helper()
	links, err := h.LinkList()
	must(t, err)
	return links
}

// A daemon that died between making a pair and marking it leaves a host end that belongs to nobody.
func TestUnfinishedPortIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.converge(oneNetwork())
	ns := kept(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = l2bridge.PortName("x")
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerNamespace = "vt-x", netlink.NsFd(ns.Fd())
	must(t, w.links.LinkAdd(veth))
	_, err := w.edge.Plug(port("x", 1, ns))
	must(t, err)
	must(t, w.links.LinkSetAlias(w.link(l2bridge.PortName("x")), "something else"))
	w.converge(oneNetwork())
	if n := len(list(t, linksAt(t, ns))); n != 1 {
		t.Errorf("%d links in the target, want lo alone", n)
	}
}

func TestTargets(t *testing.T) {
	w := newWorld(t)
	for target, says := range map[string]string{
		"4194999":                  "no process",
		"":                         "neither",
		"web":                      "neither",
		"-1":                       "neither",
		"/etc/hostname":            "not a network namespace",
		"/proc/self/ns/mnt":        "not a network namespace",
		"/nowhere":                 "no such file",
		fdPath(w.overlay):          "overlay namespace",
		fdPath(w.host):             "use expose",
		"99999999999999999999":     "neither",
		"/proc/self/ns/net/../net": "not a directory",
	} {
		if ns, err := w.edge.OpenTarget(target); err == nil {
			ns.Close()
			t.Errorf("%q was accepted", target)
		} else if !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want %q", target, err, says)
		}
	}
	ns, err := w.edge.OpenTarget(fmt.Sprint(os.Getpid())) // the test's namespace is not this world's host
	must(t, err)
	must(t, ns.Close())
}

func fdPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

func TestHostJoins(t *testing.T) {
	w := newWorld(t)
	w.converge(oneNetwork())
	ns := kept(t)
	_, err := w.edge.Plug(port("container", 1, ns))
	must(t, err)
	for i, want := range []string{"weavewg", "weavewg1"} {
		got, err := w.edge.Plug(port(want, byte(10+i), nil))
		must(t, err)
		if got.Interface != want {
			t.Errorf("the host's interface is %s, want %s", got.Interface, want)
		}
	}
	talks(t, ns, w.host, port("", 10, nil).Addresses[0].Addr())
	talks(t, ns, w.host, port("", 10, nil).Addresses[1].Addr())
	must(t, netns.Do(w.host, func() error {
		ra, err := os.ReadFile("/proc/sys/net/ipv6/conf/weavewg/accept_ra")
		if err == nil && strings.TrimSpace(string(ra)) != "0" {
			err = fmt.Errorf("accept_ra is %s", ra)
		}
		return err
	}))
	routes, err := linksAt(t, w.host).RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, 0)
	must(t, err)
	for _, r := range routes {
		if r.Dst != nil && r.Dst.IP.IsMulticast() {
			t.Errorf("the host's multicast goes into the mesh: %v", r)
		}
	}
	must(t, w.edge.Unplug("weavewg"))
}

// What is plugged in is announced on the overlay port, where the datapath learns.
func TestAddressesAreAnnounced(t *testing.T) {
	w := newWorld(t)
	w.converge(oneNetwork())
	var fd int
	must(t, netns.Do(w.overlay, func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	all := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL})
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: w.link(l2bridge.CaptureName(blue)).Attrs().Index, Protocol: all}))
	capture := os.NewFile(uintptr(fd), "capture")
	defer capture.Close()
	_, err := w.edge.Plug(port("one", 7, kept(t)))
	must(t, err)
	must(t, capture.SetReadDeadline(time.Now().Add(5*time.Second)))
	wanted := map[string]bool{"arp 10.32.0.7": true, "na fdaa::7": true}
	buf := make([]byte, 2048)
	for len(wanted) > 0 {
		n, err := capture.Read(buf)
		if err != nil {
			t.Fatalf("not seen: %v: %v", wanted, err)
		}
		f := buf[:n]
		switch {
		case n >= 42 && f[12] == 8 && f[13] == 6:
			delete(wanted, "arp "+netip.AddrFrom4([4]byte(f[28:32])).String())
		case n >= 78 && f[12] == 0x86 && f[54] == 136:
			delete(wanted, "na "+netip.AddrFrom16([16]byte(f[62:78])).String())
		}
	}
}

func TestTargetThatVanished(t *testing.T) {
	w := newWorld(t)
	w.converge(oneNetwork())
	ns := fresh(t)
	_, err := w.edge.Plug(port("gone", 1, ns))
	must(t, err)
	must(t, ns.Close())
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C { // the kernel tears namespaces down in its own time
		status, err := w.edge.Observe()
		must(t, err)
		if len(status.Ports) == 0 {
			tick.Stop()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the port outlives its target")
		}
	}
	must(t, w.edge.Unplug("gone"))
	_, err = w.edge.Plug(port("gone", 1, kept(t)))
	must(t, err)
}

// 1,000 cycles with the full counts (WEAVEWG_SOAK), some with the target gone before the detach.
func TestCyclesLeaveNothing(t *testing.T) {
	cycles := 150
	if os.Getenv("WEAVEWG_SOAK") != "" {
		cycles = 1000
	}
	w := newWorld(t)
	w.converge(oneNetwork())
	stays := kept(t)
	inside := linksAt(t, stays)
	cycle := func(i int) {
		ns := stays
		if i%10 == 0 {
			ns = fresh(t)
			defer ns.Close()
		}
		s := port(fmt.Sprint("cycle", i), byte(i), ns)
		s.MAC[5] |= 1
		_, err := w.edge.Plug(s)
		must(t, err)
		if i%20 == 0 {
			ns.Close()
		}
		must(t, w.edge.Unplug(s.ID))
	}
	cycle(0)
	cycle(1)
	threads, files, links := runtime.NumGoroutine(), openFiles(t), len(list(t, w.links))+len(list(t, inside))
	for i := range cycles {
		cycle(i)
	}
	settled := func() string {
		if n := runtime.NumGoroutine(); n > threads {
			return fmt.Sprintf("%d goroutines became %d", threads, n)
		}
		if n := openFiles(t); n > files {
			return fmt.Sprintf("%d descriptors became %d", files, n)
		}
		if n := len(list(t, w.links)) + len(list(t, inside)); n > links {
			return fmt.Sprintf("%d links became %d", links, n)
		}
		return ""
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); settled() != ""; <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal(settled())
		}
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}
