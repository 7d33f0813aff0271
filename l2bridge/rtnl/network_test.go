package rtnl_test

import (
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/netns"
)

func TestNetworksBecomeWhatTheSpecSays(t *testing.T) {
	w := newWorld(t)
	spec := oneNetwork()
	if ops := w.converge(spec); len(ops) != 2 {
		t.Errorf("the first time: %v", ops)
	}
	if ops := w.converge(spec); len(ops) != 0 {
		t.Errorf("the second time: %v", ops)
	}
	br, err := w.links.LinkByName(l2bridge.BridgeName(blue))
	must(t, err)
	b := br.(*netlink.Bridge)
	if *b.MulticastSnooping || *b.VlanFiltering || *b.AgeingTime != 30000 || *b.GroupFwdMask != 0 || b.MTU != 1280 || b.HardwareAddr[0]&3 != 2 {
		t.Errorf("bridge %+v", b)
	}
	mac := b.HardwareAddr.String()

	spec.Networks[0].MTU = 1330
	spec.Networks = append(spec.Networks, l2bridge.NetworkSpec{Name: "red", VNI: 0xffffff, MTU: 1400})
	w.converge(spec)
	for name, mtu := range map[string]int{"br-00b10e": 1330, "po-00b10e": 1330, "ca-00b10e": 1330, "br-ffffff": 1400, "ca-ffffff": 1400} {
		link, err := w.links.LinkByName(name)
		must(t, err)
		if link.Attrs().MTU != mtu {
			t.Errorf("%s has mtu %d, want %d", name, link.Attrs().MTU, mtu)
		}
	}
	br, err = w.links.LinkByName(l2bridge.BridgeName(blue))
	must(t, err)
	if br.Attrs().HardwareAddr.String() != mac {
		t.Errorf("the bridge's address changed from %s to %s", mac, br.Attrs().HardwareAddr)
	}
	w.converge(l2bridge.Spec{})
	links, err := w.links.LinkList()
	must(t, err)
	if len(links) != 1 {
		t.Errorf("%d links are left, want lo alone", len(links))
	}
}

// What an administrator breaks is put right, with the ports that were there (reliability.md F22).
func TestDamageIsRepaired(t *testing.T) {
	damages := map[string]func(w *world) error{
		"bridge deleted":       func(w *world) error { return w.links.LinkDel(w.link(l2bridge.BridgeName(blue))) },
		"overlay port deleted": func(w *world) error { return w.links.LinkDel(w.link(l2bridge.OverlayPortName(blue))) },
		"bridge down":          func(w *world) error { return w.links.LinkSetDown(w.link(l2bridge.BridgeName(blue))) },
		"capture down":         func(w *world) error { return w.links.LinkSetDown(w.link(l2bridge.CaptureName(blue))) },
		"overlay port taken out": func(w *world) error {
			return w.links.LinkSetNoMaster(w.link(l2bridge.OverlayPortName(blue)))
		},
		"not promiscuous": func(w *world) error { return w.links.SetPromiscOff(w.link(l2bridge.CaptureName(blue))) },
		"port taken out":  func(w *world) error { return w.links.LinkSetNoMaster(w.link(l2bridge.PortName("a"))) },
		"port down":       func(w *world) error { return w.links.LinkSetDown(w.link(l2bridge.PortName("a"))) },
		"snooping on": func(w *world) error {
			on, attrs := true, netlink.NewLinkAttrs()
			attrs.Name, attrs.Index = "\x00", w.link(l2bridge.BridgeName(blue)).Attrs().Index // no name: see setNetwork
			return w.links.LinkModify(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &on})
		},
		"IPv6 on": func(w *world) error {
			return netns.Do(w.overlay, func() error {
				return os.WriteFile("/proc/sys/net/ipv6/conf/"+l2bridge.BridgeName(blue)+"/disable_ipv6", []byte("0"), 0)
			})
		},
		"mtu changed": func(w *world) error { return w.links.LinkSetMTU(w.link(l2bridge.CaptureName(blue)), 1500) },
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.converge(oneNetwork())
			a, b := kept(t), kept(t)
			for _, s := range []struct {
				id string
				n  byte
				ns *os.File
			}{{"a", 1, a}, {"b", 2, b}} {
				_, err := w.edge.Plug(port(s.id, s.n, s.ns))
				must(t, err)
			}
			must(t, damage(w))
			if ops := w.converge(oneNetwork()); len(ops) == 0 {
				t.Fatal("nobody noticed")
			}
			talks(t, a, b, port("b", 2, nil).Addresses[0].Addr())
		})
	}
}

func (w *world) link(name string) netlink.Link {
	w.t.Helper()
	link, err := w.links.LinkByName(name)
	must(w.t, err)
	return link
}

func TestForeignLinkOfABridgesNameIsNotTaken(t *testing.T) {
	w := newWorld(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = l2bridge.BridgeName(blue)
	veth := netlink.NewVeth(attrs)
	veth.PeerName = "other"
	must(t, w.links.LinkAdd(veth))
	status, err := w.edge.Observe()
	must(t, err)
	err = w.edge.Apply(l2bridge.Diff(oneNetwork(), status))
	if err == nil || !strings.Contains(err.Error(), "br-00b10e") || !strings.Contains(err.Error(), "blue") {
		t.Fatalf("got %v", err)
	}
}
