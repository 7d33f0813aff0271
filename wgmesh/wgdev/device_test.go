package wgdev_test

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/wgmesh"
	"github.com/weavewg/weavewg/wgmesh/wgdev"
)

func TestTwoHostsReachEachOther(t *testing.T) {
	a, b := pair(t)
	sa, sb := a.spec(b), b.spec(a)
	a.converge(sa)
	b.converge(sb)
	begun := time.Now()
	a.ping(b.overlay, 5*time.Second)
	t.Logf("first answer after %s", time.Since(begun))
	b.ping(a.overlay, time.Second)
	for _, h := range []struct {
		*host
		ops []wgmesh.Op
	}{{a, a.converge(sa)}, {b, b.converge(sb)}} {
		if len(h.ops) != 0 {
			t.Errorf("a second look wants %v", h.ops)
		}
	}
	status := a.observe()
	if status.Reason == "" || status.Address != a.overlay || len(status.Slots) != 1 {
		t.Fatalf("observed %+v", status)
	}
	s := status.Slots[0]
	if s.Name != "wg-"+a.id+"-0" || !s.Up || s.MTU != 1420 || s.Port != testPort || s.PrivateKey != a.key || s.PublicKey != a.key.PublicKey() {
		t.Errorf("slot %+v", s)
	}
	p := s.Peers[0]
	if p.LastHandshake.IsZero() || p.Rx == 0 || p.Tx == 0 || p.Endpoint != netip.AddrPortFrom(b.under, testPort) || p.Keepalive != wgmesh.Keepalive {
		t.Errorf("peer %+v", p)
	}
	if err := a.dev.GuardProblem(); err != nil {
		t.Error(err)
	}
}

// A daemon that goes and comes back finds everything as it was, keys included, and changes nothing.
func TestRestartAdopts(t *testing.T) {
	a, b := pair(t)
	a.converge(a.spec(b))
	b.converge(b.spec(a))
	a.ping(b.overlay, 5*time.Second)
	before := a.observe()
	stop := a.stream(b.overlay)
	must(t, a.dev.Close())
	must(t, a.keeper.Close())
	a.start()
	after := a.observe()
	spec := a.spec(b)
	spec.Slots[0].PrivateKey = wgtypes.Key{} // the new daemon knows none: it adopts
	if ops := wgmesh.Diff(spec, after); len(ops) != 0 {
		t.Errorf("wants %v", ops)
	}
	if after.Slots[0].PrivateKey != before.Slots[0].PrivateKey || after.Slots[0].Peers[0].LastHandshake != before.Slots[0].Peers[0].LastHandshake {
		t.Errorf("%+v became %+v", before.Slots, after.Slots)
	}
	if !strings.Contains(after.Reason, "adopted") {
		t.Errorf("reason %q", after.Reason)
	}
	if sent, lost, _ := stop(); lost != 0 || sent < 10 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
}

// Reliability.md F4: behind the same interface, and speaking first, so that the other end need not find out by itself.
func TestKilledProcessUnderLoad(t *testing.T) {
	a, b := pair(t)
	if kernel, _ := a.dev.Kernel(); kernel {
		a.dev.Close()
		t.Fatal("this test is about WireGuard in user space: run it where the kernel has none")
	}
	a.converge(a.spec(b))
	b.converge(b.spec(a))
	a.ping(b.overlay, 5*time.Second)
	index := linkIndex(t, a)
	for _, victim := range []*host{a, b, a} {
		stop := a.stream(b.overlay)
		pid, err := victim.keeper.WireGuard(t.Context(), victim.dev.Name(0), 1420, 0)
		must(t, err)
		must(t, unix.Kill(pid, unix.SIGKILL))
		select {
		case e := <-victim.keeper.Events():
			if e.PID == 0 {
				t.Fatalf("event %+v", e)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("nobody said that the process died")
		}
		other := map[*host]*host{a: b, b: a}[victim]
		if ops := victim.converge(victim.spec(other)); len(ops) == 0 {
			t.Fatal("the new process needs nothing?")
		}
		a.ping(b.overlay, 5*time.Second)
		sent, lost, gap := stop()
		t.Logf("%d of %d lost, gap %s", lost, sent, gap)
		if gap > time.Second {
			t.Errorf("a gap of %s", gap)
		}
	}
	if now := linkIndex(t, a); now != index {
		t.Errorf("interface %d became %d", index, now)
	}
}

func linkIndex(t *testing.T, h *host) int {
	t.Helper()
	link, err := linksAt(t, h.keeper.Namespace()).LinkByName(h.dev.Name(0))
	must(t, err)
	return link.Attrs().Index
}

// Moving a route between two devices loses nothing (reliability.md M7): the step that path change and rotation are.
func TestRouteMovesBetweenSlots(t *testing.T) {
	a, b := pair(t)
	sa, sb := a.spec(b), b.spec(a)
	keyA, err := wgtypes.GeneratePrivateKey()
	must(t, err)
	keyB, err := wgtypes.GeneratePrivateKey()
	must(t, err)
	second := func(s wgmesh.DeviceSpec, own, peer wgtypes.Key) wgmesh.DeviceSpec {
		slot := s.Slots[0]
		slot.Slot, slot.PrivateKey, slot.Port = 1, own, testPort+1
		p := slot.Peers[0]
		p.Key, p.Endpoint = peer.PublicKey(), netip.AddrPortFrom(p.Endpoint.Addr(), testPort+1)
		slot.Peers = []wgmesh.PeerSpec{p}
		s.Slots = append(s.Slots, slot)
		return s
	}
	sa, sb = second(sa, keyA, keyB), second(sb, keyB, keyA)
	a.converge(sa)
	b.converge(sb)
	a.ping(b.overlay, 5*time.Second)
	handshakes := func(h *host) bool {
		for _, s := range h.observe().Slots {
			if s.Peers[0].LastHandshake.IsZero() {
				return false
			}
		}
		return true
	}
	eventually(t, 10*time.Second, "both tunnels have a session", func() bool { return handshakes(a) && handshakes(b) })
	stop := a.stream(b.overlay)
	for i := range 40 {
		sa.Routes[0].Slot, sb.Routes[0].Slot = wgmesh.Slot((i+1)%2), wgmesh.Slot(i/2%2)
		a.converge(sa)
		b.converge(sb)
	}
	if sent, lost, _ := stop(); lost != 0 || sent < 10 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
	if routes := a.observe().Routes; len(routes) != 1 {
		t.Errorf("routes %v", routes)
	}
}

func TestStepsCanBeRepeatedAndUndone(t *testing.T) {
	a, b := pair(t)
	spec := a.spec(b)
	ops := a.converge(spec)
	must(t, a.dev.Apply(ops))
	must(t, a.dev.Apply(ops))
	key := b.key.PublicKey()
	undo := []wgmesh.Op{wgmesh.DelRoute{Route: spec.Routes[0]}, wgmesh.DelPeer{Key: key}, wgmesh.DelSlot{}}
	must(t, a.dev.Apply(undo[:2]))
	must(t, a.dev.Apply(undo[:2]))
	if s := a.observe(); len(s.Routes) != 0 || len(s.Slots[0].Peers) != 0 {
		t.Errorf("left: %+v", s)
	}
	must(t, a.dev.Apply(undo[2:]))
	must(t, a.dev.Apply(undo[2:]))
	must(t, a.dev.Apply(undo[:1]))
	if s := a.observe(); len(s.Slots) != 0 {
		t.Errorf("left: %+v", s)
	}
	a.converge(spec)
}

// What an administrator breaks shows, and the steps repair it (reliability.md F23, F24).
func TestDamageIsRepaired(t *testing.T) {
	a, b := pair(t)
	a.converge(a.spec(b))
	b.converge(b.spec(a))
	a.ping(b.overlay, 5*time.Second)
	links := linksAt(t, a.keeper.Namespace())
	name, key := a.dev.Name(0), b.key.PublicKey()
	wrong := wgtypes.Key{9}
	for what, damage := range map[string]func() error{
		"interface down":  func() error { l, _ := links.LinkByName(name); return links.LinkSetDown(l) },
		"interface gone":  func() error { l, _ := links.LinkByName(name); return links.LinkDel(l) },
		"mtu":             func() error { l, _ := links.LinkByName(name); return links.LinkSetMTU(l, 1380) },
		"peer removed":    func() error { return a.dev.Apply([]wgmesh.Op{wgmesh.DelPeer{Key: key}}) },
		"PSK changed":     func() error { return a.dev.Apply([]wgmesh.Op{wgmesh.SetPeer{Key: key, PSK: &wrong}}) },
		"port changed":    func() error { return a.dev.Apply([]wgmesh.Op{wgmesh.SetSlot{Port: 7000}}) },
		"route removed":   func() error { return a.dev.Apply([]wgmesh.Op{wgmesh.DelRoute{Route: wgmesh.Route{To: b.overlay}}}) },
		"address removed": func() error { return inside(a, "ip", "addr", "del", a.overlay.String()+"/128", "dev", "lo") },
	} {
		must(t, damage())
		if what == "interface gone" {
			eventually(t, 5*time.Second, "its process ends", func() bool { return len(a.observe().Slots) == 0 })
		}
		if ops := a.converge(a.spec(b)); len(ops) == 0 {
			t.Errorf("%s: nobody noticed", what)
		}
		if ops := a.converge(a.spec(b)); len(ops) != 0 {
			t.Errorf("%s: still to do: %v", what, ops)
		}
		a.ping(b.overlay, 10*time.Second)
	}
}

// inside runs a program in a host's overlay namespace.
func inside(h *host, program string, args ...string) error {
	return netns.Do(h.keeper.Namespace(), func() error { return exec.Command(program, args...).Run() })
}

func TestErrorsSayWhere(t *testing.T) {
	a, b := pair(t)
	spec := a.spec(b)
	must(t, netns.Do(a.ns, func() error {
		foreign, err := net.ListenPacket("udp", ":6784")
		if err == nil {
			t.Cleanup(func() { foreign.Close() })
		}
		return err
	}))
	a.converge(spec)
	comm, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	psk, peer := wgtypes.Key{}, spec.Slots[0].Peers[0]
	for name, c := range map[string]struct {
		op   wgmesh.Op
		says []string
	}{
		"port taken":    {wgmesh.AddSlot{Slot: 1, Port: 6784, MTU: 1420}, []string{"slot 1", "port 6784/udp is taken by " + strings.TrimSpace(string(comm)) + " (pid", "set listen.port"}},
		"MTU too small": {wgmesh.AddSlot{Slot: 1, Port: 6785, MTU: 1349}, []string{"slot 1", "1349 is below 1350"}},
		"MTU shrunk":    {wgmesh.SetSlot{MTU: 1279}, []string{"slot 0", "1279 is below 1350"}},
		"another key":   {wgmesh.AddSlot{PrivateKey: wgtypes.Key{3}, Port: testPort, MTU: 1420}, []string{"slot 0", "never changed in place"}},
		"no such peer":  {wgmesh.SetPeer{Key: wgtypes.Key{5}, PSK: &psk}, []string{"slot 0", wgtypes.Key{5}.String()[:8], "no such peer"}},
		"no such slot":  {wgmesh.AddPeer{Slot: 2, Peer: peer}, []string{"slot 2", peer.Key.String()[:8], "not exist"}},
		"route by none": {wgmesh.SetRoute{Route: wgmesh.Route{To: b.overlay, Slot: 2}}, []string{b.overlay.String(), "slot 2", "not found"}},
	} {
		err := a.dev.Apply([]wgmesh.Op{c.op})
		for _, says := range c.says {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: got %v, want %q", name, err, says)
			}
		}
	}
	if s := a.observe(); len(s.Slots) != 1 {
		t.Errorf("half-made slots are left: %+v", s.Slots)
	}
	if ops := a.converge(spec); len(ops) != 0 {
		t.Errorf("something changed: %v", ops)
	}
}

func TestMode(t *testing.T) {
	a := bare(t, 1)
	a.start()
	if kernel, reason := a.dev.Kernel(); kernel || !strings.Contains(reason, "no WireGuard") {
		t.Fatalf("kernel %v: %q: this test wants a kernel without WireGuard", kernel, reason)
	}
	a.open(wgdev.Userspace)
	if _, reason := a.dev.Kernel(); reason != "configured" {
		t.Errorf("reason %q", reason)
	}
	err := netns.Do(a.ns, func() error {
		_, err := wgdev.Open(wgdev.Options{Keeper: a.keeper, NodeID: a.id, Mode: wgdev.Kernel})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "wireguard: kernel") || !strings.Contains(err.Error(), "wireguard: auto") {
		t.Errorf("got %v", err)
	}
}
