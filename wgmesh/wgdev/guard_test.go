package wgdev_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// heard says whether a datagram from one host's overlay reaches a socket in the other's.
func heard(t *testing.T, from, to *host, target netip.Addr, port int) bool {
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
	_, err := out.WriteTo([]byte("x"), &net.UDPAddr{IP: target.AsSlice(), Port: port})
	must(t, err)
	must(t, in.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	_, _, err = in.ReadFrom(make([]byte, 10))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
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
		{"delete", "chain", "inet", "weavewg", "forward"},
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
		if n := strings.Count(string(rules), "chain "); err == nil && n != 2 {
			t.Errorf("%d chains: %s", n, rules)
		}
		return err
	}))
}

func TestOverlayForwardsNothing(t *testing.T) {
	a := bare(t, 1)
	a.start()
	must(t, netns.Do(a.keeper.Namespace(), func() error {
		for path, want := range map[string]string{
			"ipv4/conf/all/forwarding": "0", "ipv6/conf/all/forwarding": "0", "ipv6/conf/all/accept_ra": "0",
			"ipv6/conf/default/accept_ra": "0", "ipv6/conf/all/disable_ipv6": "0",
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
