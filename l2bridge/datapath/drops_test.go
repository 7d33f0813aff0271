package datapath

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/learner"
)

func vxlan(vni uint32, frame []byte) []byte {
	b := make([]byte, l2bridge.VXLANHeader)
	l2bridge.PutVXLAN(b, vni)
	return append(b, frame...)
}

func ethernet(dst, src learner.MAC, length int) []byte {
	b := append(append(append([]byte{}, dst[:]...), src[:]...), 0x88, 0xb5)
	return append(b, make([]byte, max(0, length-len(b)))...)
}

func TestBadPacketsAreDroppedAndCounted(t *testing.T) {
	hosts := newHosts(t, 2)
	addAddress(t, hosts[1].links, "wire", "fd00:77::bad/64")
	got := reading(hosts[0].raw(), func(b []byte) bool { return len(b) > 12 && b[6] == 2 && b[7] == 0x77 })
	good := ethernet(learner.Broadcast, learner.MAC{2, 0x77, 0, 0, 0, 1}, 60)
	set := func(b []byte, at int, v byte) []byte { b[at] = v; return b }
	for _, c := range []struct {
		why    l2bridge.Why
		from   string
		packet []byte
	}{
		{l2bridge.VXLANShort, "", []byte{8, 0, 0, 0}},
		{l2bridge.VXLANFlags, "", set(vxlan(testVNI, good), 0, 0)},
		{l2bridge.VXLANFlags, "", set(vxlan(testVNI, good), 0, 0x0c)}, // GPE
		{l2bridge.VXLANFlags, "", set(vxlan(testVNI, good), 0, 0x28)}, // remote checksum
		{l2bridge.VXLANReserved, "", set(vxlan(testVNI, good), 3, 1)},
		{l2bridge.VXLANReserved, "", set(vxlan(testVNI, good), 7, 1)},
		{l2bridge.UnknownVNI, "", vxlan(testVNI+1, good)},
		{l2bridge.NotMember, "fd00:77::bad", vxlan(testVNI, good)},
		{l2bridge.Runt, "", vxlan(testVNI, good[:13])},
		{l2bridge.Runt, "", vxlan(testVNI, nil)},
		{l2bridge.BadSource, "", vxlan(testVNI, ethernet(learner.Broadcast, learner.Broadcast, 60))},
		{l2bridge.BadSource, "", vxlan(testVNI, ethernet(learner.Broadcast, learner.MAC{}, 60))},
		{l2bridge.ReservedGroup, "", vxlan(testVNI, ethernet(learner.MAC{1, 0x80, 0xc2}, learner.MAC{2, 0x77, 0, 0, 0, 1}, 60))},
		{l2bridge.BadVLAN, "", vxlan(testVNI, append(append(good[:12:12], 0x81, 0, 0x0f, 0xff, 8, 0), good[14:]...))},
		{l2bridge.TooManyTags, "", vxlan(testVNI, append(append(good[:12:12], 0x81, 0, 0, 1, 0x81, 0, 0, 1, 0x81, 0, 0, 1, 8, 0), good[14:]...))},
		{l2bridge.TooLong, "", vxlan(testVNI, ethernet(learner.Broadcast, learner.MAC{2, 0x77, 0, 0, 0, 1}, testMTU+15))},
	} {
		from := hosts[1].address
		if c.from != "" {
			from = netip.MustParseAddr(c.from)
		}
		before := hosts[0].dp.Stats().Drops
		datagram(t, hosts[1], from, hosts[0].address, c.packet)
		eventually(t, 5*time.Second, "counted as "+c.why.String(), func() bool {
			after := hosts[0].dp.Stats().Drops
			return after[c.why] == before[c.why]+1
		})
	}
	datagram(t, hosts[1], hosts[1].address, hosts[0].address, vxlan(testVNI, good))
	select {
	case b := <-got:
		if string(b) != string(good) {
			t.Fatalf("a bad frame was injected: %x", b)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the good frame was not injected")
	}
	select {
	case b := <-got:
		t.Fatalf("one frame too many: %x", b)
	case <-time.After(20 * time.Millisecond):
	}
}

// datagram sends one UDP packet from a host's overlay namespace to another's tunnel port.
func datagram(t *testing.T, h *host, from, to netip.Addr, b []byte) {
	t.Helper()
	ok(t, netns.Do(h.overlay, func() error {
		c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, l2bridge.VXLANPort)))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write(b)
		return err
	}))
}

func TestCapturedFramesThatAreNotSentAreCounted(t *testing.T) {
	hosts := newHosts(t, 1)
	h := hosts[0]
	p := h.raw()
	peer := l2bridge.Member{ID: [16]byte{7}, Address: netip.MustParseAddr("fd00:77::7")}
	mine := learner.MAC{2, 0x77, 0, 0, 0, 1}
	count := func(why l2bridge.Why, frame []byte) {
		t.Helper()
		before := h.dp.Stats().Drops[why]
		emit(t, p, frame)
		eventually(t, 5*time.Second, "counted as "+why.String(), func() bool { return h.dp.Stats().Drops[why] > before })
	}
	count(l2bridge.NoMembers, ethernet(learner.Broadcast, mine, 60))
	h.dp.Publish(Members{testVNI: {peer}})
	datagramSeen := h.dp.Stats().Drops[l2bridge.SendFailed]
	if datagramSeen != 0 {
		t.Fatalf("%d sends failed before anything was sent", datagramSeen)
	}
	ok(t, h.links.LinkSetMTU(link(t, h.links, "wire"), 1280)) // the tunnel is narrower than the network: fragments
	emit(t, p, ethernet(learner.Broadcast, mine, testMTU+14))
	// A peer that has gone: learn its MAC, then publish without it.
	h2 := ethernet(learner.Broadcast, learner.MAC{2, 0x88, 0, 0, 0, 1}, 60)
	h.dp.Publish(Members{testVNI: {{ID: [16]byte{7}, Address: h.address}}})
	datagram(t, h, h.address, h.address, vxlan(testVNI, h2))
	eventually(t, 5*time.Second, "learnt", func() bool {
		for _, e := range h.dp.MACs()[0].MACs {
			if e.MAC[1] == 0x88 {
				return true
			}
		}
		return false
	})
	h.dp.Publish(Members{testVNI: {{ID: [16]byte{8}, Address: peer.Address}}})
	count(l2bridge.PeerDown, ethernet(learner.MAC{2, 0x88, 0, 0, 0, 1}, mine, 60))
	h.dp.Forget([16]byte{7})
	before := h.dp.Stats().Traffic[Out][l2bridge.Unknown].Frames
	emit(t, p, ethernet(learner.MAC{2, 0x88, 0, 0, 0, 1}, mine, 60))
	eventually(t, 5*time.Second, "flooded", func() bool { return h.dp.Stats().Traffic[Out][l2bridge.Unknown].Frames > before })
	h.dp.Publish(nil)
	// Routes into nothing.
	h.dp.Publish(Members{testVNI: {{ID: [16]byte{9}, Address: netip.MustParseAddr("fd99::1")}}})
	count(l2bridge.SendFailed, ethernet(learner.Broadcast, mine, 60))
}

func TestTapShowsFramesWithTheirVerdicts(t *testing.T) {
	hosts := newHosts(t, 2)
	ctx, cancel := context.WithCancel(context.Background())
	lines := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		hosts[0].dp.Tap(ctx, "default", func(f Tapped) {
			select {
			case lines <- f.String():
			default:
			}
		})
	}()
	eventually(t, 5*time.Second, "listening", func() bool { return hosts[0].dp.taps.list.Load() != nil })
	if out, err := hosts[0].command("ping", "-c1", "-W2", hosts[1].ip4.String()); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range [][]string{
		{"default out, broadcast, to 02000000", "ARP 10.32.0.1 asks for 10.32.0.2"},
		{"default in from 02000000", "ARP 10.32.0.2 is here"},
		{"default out, unicast, to 02000000", "IPv4 10.32.0.1 > 10.32.0.2 ICMP EchoRequest"},
	} {
		for found := false; !found; {
			select {
			case l := <-lines:
				found = strings.Contains(l, want[0]) && strings.Contains(l, want[1])
			case <-time.After(5 * time.Second):
				t.Fatalf("not shown: %v", want)
			}
		}
	}
	cancel()
	<-done
	if hosts[0].dp.taps.list.Load() != nil {
		t.Error("somebody still listens")
	}
}
