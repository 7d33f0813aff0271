package wgdev_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/wgmesh"
)

// heard says whether a datagram from one host's overlay reaches a socket in the other's.
func heard(t *testing.T, from, to *host, target netip.Addr, port int) bool {
	t.Helper()
	return heardWhole(t, from, to, target, port, 1)
}

// heardWhole does so for a datagram of some size.
func heardWhole(t *testing.T, from, to *host, target netip.Addr, port, size int) bool {
	t.Helper()
	var in, out net.PacketConn
	must(t, netns.Do(to.keeper.Namespace(), func() (err error) {
		in, err = net.ListenUDP("udp6", &net.UDPAddr{Port: port})
		return err
	}))
	defer in.Close()
	must(t, netns.Do(from.keeper.Namespace(), func() (err error) {
		out, err = net.ListenUDP("udp6", &net.UDPAddr{})
		return err
	}))
	defer out.Close()
	_, err := out.WriteTo(make([]byte, size), &net.UDPAddr{IP: target.AsSlice(), Port: port})
	must(t, err)
	must(t, in.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	n, _, err := in.ReadFrom(make([]byte, size+1))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil && n == size
}

// A VLAN-tagged frame of the full MTU makes a datagram that does not fit the tunnel in one piece.
func TestGuardLetsFragmentsOfVXLANIn(t *testing.T) {
	a, b := pair(t)
	a.converge(a.spec(b))
	b.converge(b.spec(a))
	a.ping(b.overlay, 5*time.Second)
	if !heardWhole(t, a, b, b.overlay, 4789, 4000) {
		t.Error("VXLAN in fragments does not pass")
	}
	if heardWhole(t, a, b, b.overlay, 4790, 4000) {
		t.Error("another port passes in fragments")
	}
}

func TestGuardLetsOnlyVXLANAndEchoIn(t *testing.T) {
	a, b := pair(t)
	a.converge(a.spec(b))
	b.converge(b.spec(a))
	a.ping(b.overlay, 5*time.Second)
	if !heard(t, a, b, b.overlay, 4789) {
		t.Error("VXLAN does not pass")
	}
	if heard(t, a, b, b.overlay, 4790) {
		t.Error("another port passes")
	}
	if !heard(t, b, b, b.overlay, 4790) {
		t.Error("the namespace does not reach itself")
	}
	// An administrator flushes; the next look puts the table back.
	must(t, inside(b, "nft", "flush", "ruleset"))
	if !heard(t, a, b, b.overlay, 4790) {
		t.Fatal("the test's own premise: without rules it passes")
	}
	for _, tamper := range [][]string{
		{"flush", "ruleset"},
		{"flush", "chain", "inet", "weavewg", "input"},
		{"add", "rule", "inet", "weavewg", "input", "accept"},
		{"chain", "inet", "weavewg", "input", "{ policy accept ; }"},
		{"flush", "chain", "inet", "weavewg", "forward"},
	} {
		must(t, inside(b, "nft", tamper...))
		b.observe()
		if heard(t, a, b, b.overlay, 4790) {
			t.Errorf("after %v another port passes", tamper)
		}
		a.ping(b.overlay, 5*time.Second)
		if err := b.dev.GuardProblem(); err != nil {
			t.Error(err)
		}
	}
	must(t, netns.Do(b.keeper.Namespace(), func() error {
		rules, err := exec.Command("nft", "list", "ruleset").Output()
		if n := strings.Count(string(rules), "chain "); err == nil && n != 2 || !strings.Contains(string(rules), `iifname "br-*" accept`) {
			t.Errorf("%d chains: %s", n, rules)
		}
		return err
	}))
}

func TestOverlayForwardsNothing(t *testing.T) {
	a := bare(t, 1)
	a.start()
	must(t, netns.Do(a.keeper.Namespace(), func() error {
		return errors.Join(
			os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0),
			os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-ip6tables", []byte("1"), 0))
	}))
	a.observe()
	must(t, netns.Do(a.keeper.Namespace(), func() error {
		for path, want := range map[string]string{
			"ipv4/conf/all/forwarding": "0", "ipv6/conf/all/forwarding": "0", "ipv6/conf/all/accept_ra": "0",
			"ipv6/conf/default/accept_ra": "0", "ipv6/conf/all/disable_ipv6": "0", "bridge/bridge-nf-call-ip6tables": "0",
		} {
			is, err := os.ReadFile("/proc/sys/net/" + path)
			if err != nil {
				return err
			}
			if strings.TrimSpace(string(is)) != want {
				t.Errorf("%s is %s", path, is)
			}
		}
		return nil
	}))
}

// Where br_netfilter is on (Docker's doing), bridged packets meet the guard's forward chain, and must pass.
func TestGuardLetsBridgedPacketsPass(t *testing.T) {
	h := bare(t, 1)
	h.start()
	must(t, h.dev.Apply([]wgmesh.Op{wgmesh.AddAddress{Address: h.overlay}}))
	overlay := linksAt(t, h.keeper.Namespace())
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br-00b10e"
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	must(t, overlay.LinkAdd(bridge))
	must(t, overlay.LinkSetUp(bridge))
	var ends [2]*os.File
	for i := range ends {
		ends[i] = namespace(t)
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex = "vp-"+string(rune('a'+i)), bridge.Index
		veth := netlink.NewVeth(attrs)
		veth.PeerName, veth.PeerNamespace = "ethwe", netlink.NsFd(ends[i].Fd())
		must(t, overlay.LinkAdd(veth))
		must(t, overlay.LinkSetUp(veth))
		links := linksAt(t, ends[i])
		inner, err := links.LinkByName("ethwe")
		must(t, err)
		must(t, links.AddrAdd(inner, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 32, 0, byte(i+1)), Mask: net.CIDRMask(12, 32)}}))
		must(t, links.LinkSetUp(inner))
	}
	must(t, netns.Do(h.keeper.Namespace(), func() error {
		return os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0)
	}))
	must(t, netns.Do(ends[0], func() error {
		if said, err := exec.Command("ping", "-c1", "-W3", "10.32.0.2").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, said)
		}
		return nil
	}))
}
