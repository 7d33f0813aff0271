package rtnl

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/netns"
)

// ageing of a bridge's own table, in the kernel's hundredths of a second: 300 s, the standard's default (IEEE 802.1D).
const ageing = 300 * 100

// bridge returns a bridge that forwards frames and does nothing else: no snooping, no link-local groups let through.
// Spanning tree and VLAN filtering are off where nobody switches them on, and not every kernel knows the latter.
func bridge(name string) *netlink.Bridge {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	off, ages, none := false, uint32(ageing), uint16(0)
	return &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off, AgeingTime: &ages, GroupFwdMask: &none}
}

func (e *Edge) addBridge(n l2bridge.NetworkSpec) error {
	b := bridge(l2bridge.BridgeName(n.VNI))
	b.HardwareAddr = randomMAC() // fixed: else it follows the ports
	if err := e.links.LinkAdd(b); errors.Is(err, unix.EEXIST) {
		return e.takeOver(b)
	} else if err != nil {
		return fmt.Errorf("make bridge %s: %w", b.Name, err)
	}
	return e.settle(b, n.MTU)
}

// takeOver accepts a bridge that is there already, and nothing else of its name.
func (e *Edge) takeOver(b *netlink.Bridge) error {
	link, err := e.links.LinkByName(b.Name)
	if err != nil {
		return err
	}
	if link.Type() != b.Type() {
		return fmt.Errorf("%s exists in the overlay namespace and is no bridge but %s: remove it", b.Name, link.Type())
	}
	return nil
}

// addPair makes the overlay port and its capture end. The capture end is promiscuous, has no address and does not speak.
func (e *Edge) addPair(n l2bridge.NetworkSpec) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = l2bridge.OverlayPortName(n.VNI), n.MTU
	veth := netlink.NewVeth(attrs)
	veth.PeerName = l2bridge.CaptureName(n.VNI)
	if err := e.links.LinkAdd(veth); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make %s: %w", veth.Name, err)
	}
	return e.setNetwork(n)
}

// setNetwork puts right whatever part of the network exists.
func (e *Edge) setNetwork(n l2bridge.NetworkSpec) error {
	br, err := e.links.LinkByName(l2bridge.BridgeName(n.VNI))
	switch {
	case err == nil:
		b := bridge(l2bridge.BridgeName(n.VNI))
		b.Index = br.Attrs().Index
		if is, ok := br.(*netlink.Bridge); ok && is.VlanFiltering != nil && *is.VlanFiltering {
			b.VlanFiltering = new(bool)
		}
		// Before Linux 6.2 an interface that is up takes no name, not even its own (net/core/dev.c, dev_change_name). The
		// library insists on sending one; the kernel takes an empty one for none.
		b.Name = "\x00"
		if err := e.links.LinkModify(b); err != nil {
			return fmt.Errorf("set up %s: %w", br.Attrs().Name, err)
		}
		if err := e.settle(br, n.MTU); err != nil {
			return err
		}
	case !missing(err):
		return err
	}
	port, err := e.links.LinkByName(l2bridge.OverlayPortName(n.VNI))
	if err != nil {
		if missing(err) {
			return nil
		}
		return err
	}
	if br != nil && port.Attrs().MasterIndex != br.Attrs().Index {
		if err := e.links.LinkSetMaster(port, br); err != nil {
			return fmt.Errorf("put %s into its bridge: %w", port.Attrs().Name, err)
		}
	}
	if err := e.settle(port, n.MTU); err != nil {
		return err
	}
	capture, err := e.links.LinkByName(l2bridge.CaptureName(n.VNI))
	if err != nil {
		return err
	}
	if err := e.links.SetPromiscOn(capture); err != nil {
		return fmt.Errorf("%s: promiscuous mode: %w", capture.Attrs().Name, err)
	}
	return e.settle(capture, n.MTU)
}

// settle gives a link of the overlay namespace its MTU, keeps the namespace's own stack off it and brings it up.
func (e *Edge) settle(link netlink.Link, mtu int) error {
	name := link.Attrs().Name
	if err := sysctl6(e.overlay, name, "disable_ipv6", "1"); err != nil {
		return fmt.Errorf("%s: switch IPv6 off: %w", name, err)
	}
	// Also where it is right: only then the kernel stops to fit a bridge's MTU to its ports.
	if err := e.links.LinkSetMTU(link, mtu); err != nil {
		return fmt.Errorf("%s: set mtu %d: %w", name, mtu, err)
	}
	if err := e.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("%s: bring up: %w", name, err)
	}
	return nil
}

// randomMAC returns a locally administered unicast address.
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	_, _ = rand.Read(mac) // never fails: crypto/rand
	mac[0] = mac[0]&^1 | 2
	return mac
}

// Observe reads networks and ports.
func (e *Edge) Observe() (l2bridge.Status, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	links, err := e.links.LinkList()
	if err != nil {
		return l2bridge.Status{}, fmt.Errorf("list the overlay's interfaces: %w", err)
	}
	speaking, err := e.speaking(links)
	if err != nil {
		return l2bridge.Status{}, err
	}
	parts := map[uint32]map[string]netlink.Link{}
	for _, link := range links {
		if kind, vni, ours := l2bridge.ParseName(link.Attrs().Name); ours {
			if parts[vni] == nil {
				parts[vni] = map[string]netlink.Link{}
			}
			parts[vni][kind] = link
		}
	}
	var status l2bridge.Status
	for vni, p := range parts {
		status.Networks = append(status.Networks, network(vni, p, speaking))
	}
	slices.SortFunc(status.Networks, func(a, b l2bridge.NetworkStatus) int { return int(a.VNI) - int(b.VNI) })
	for _, link := range links {
		if !strings.HasPrefix(link.Attrs().Name, l2bridge.PortPrefix) {
			continue
		}
		port := parsePort(link)
		br := parts[port.VNI]["br"]
		port.Bridged = br != nil && link.Attrs().MasterIndex == br.Attrs().Index && isUp(link)
		status.Ports = append(status.Ports, port)
	}
	slices.SortFunc(status.Ports, func(a, b l2bridge.PortStatus) int { return strings.Compare(a.Link, b.Link) })
	return status, nil
}

func network(vni uint32, parts map[string]netlink.Link, speaking map[string]bool) l2bridge.NetworkStatus {
	br, po, ca := parts["br"], parts["po"], parts["ca"]
	n := l2bridge.NetworkStatus{VNI: vni, Bridge: br != nil && br.Type() == "bridge", Pair: po != nil && ca != nil}
	var faults []string
	for _, link := range []netlink.Link{br, po, ca} {
		if link == nil {
			continue
		}
		a := link.Attrs()
		if !isUp(link) {
			faults = append(faults, a.Name+" is down")
		}
		if n.MTU == 0 && len(faults) == 0 || a.MTU == n.MTU {
			n.MTU = a.MTU
		} else if a.MTU != n.MTU {
			faults = append(faults, fmt.Sprintf("%s has mtu %d", a.Name, a.MTU))
		}
		if speaking[a.Name] {
			faults = append(faults, a.Name+" has IPv6")
		}
	}
	if n.Bridge && n.Pair && po.Attrs().MasterIndex != br.Attrs().Index {
		faults = append(faults, po.Attrs().Name+" is not in its bridge")
	}
	if n.Pair && ca.Attrs().Promisc == 0 {
		faults = append(faults, ca.Attrs().Name+" is not promiscuous")
	}
	if b, ok := br.(*netlink.Bridge); ok && changed(b) {
		faults = append(faults, b.Name+" has other settings")
	}
	n.Fault = strings.Join(faults, ", ")
	return n
}

// changed says that somebody altered the bridge's settings.
func changed(b *netlink.Bridge) bool {
	return b.MulticastSnooping != nil && *b.MulticastSnooping || b.VlanFiltering != nil && *b.VlanFiltering ||
		b.AgeingTime != nil && *b.AgeingTime != ageing || b.GroupFwdMask != nil && *b.GroupFwdMask != 0
}

// speaking returns which of the links the namespace's own IPv6 is on.
func (e *Edge) speaking(links []netlink.Link) (map[string]bool, error) {
	on := map[string]bool{}
	err := netns.Do(e.overlay, func() error {
		for _, link := range links {
			name := link.Attrs().Name
			off, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6")
			on[name] = err == nil && strings.TrimSpace(string(off)) == "0"
		}
		return nil
	})
	return on, err
}

func isUp(link netlink.Link) bool { return link.Attrs().Flags&net.FlagUp != 0 }
