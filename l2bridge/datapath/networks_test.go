package datapath

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/capture"
	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/learner"
)

// second adds another network to a host, with a port of its own in the host's container.
func (h *host) second(vni uint32) {
	h.t.Helper()
	bridge(h.t, h.links, "br2", testMTU)
	veth(h.t, h.links, "po2", "ca2", testMTU, nil, nil)
	ok(h.t, h.links.LinkSetMaster(link(h.t, h.links, "po2"), link(h.t, h.links, "br2")))
	veth(h.t, h.links, "vp2", "eth1", testMTU, h.container, h.inside)
	ok(h.t, h.links.LinkSetMaster(link(h.t, h.links, "vp2"), link(h.t, h.links, "br2")))
	ok(h.t, h.dp.SetNetworks(append(networks(), Network{Name: "blue", VNI: vni, Port: "po2", Capture: "ca2", MTU: testMTU})))
}

func networks() []Network {
	return []Network{{Name: "default", VNI: testVNI, Port: "po", Capture: "ca", MTU: testMTU}}
}

func (h *host) rawOn(name string) (p capture.Port) {
	h.t.Helper()
	ok(h.t, netns.Do(h.container, func() (err error) {
		p, err = capture.OpenAFPacket(name)
		return err
	}))
	h.t.Cleanup(func() { p.Close() })
	return p
}

func TestNetworksAreApartAndChangeWithoutTouchingOthers(t *testing.T) {
	hosts := newHosts(t, 2)
	const blue = 0x42
	for _, h := range hosts {
		h.second(blue)
	}
	for i, h := range hosts {
		o := l2bridge.Member{ID: hosts[1-i].id, Address: hosts[1-i].address}
		h.dp.Publish(Members{testVNI: {o}, blue: {o}})
	}
	mine := func(b []byte) bool { return len(b) > 12 && b[6] == 2 && b[7] == 0x77 }
	first, second := hosts[0].rawOn("eth0"), hosts[0].rawOn("eth1")
	got := map[string]<-chan []byte{"eth0": reading(hosts[1].rawOn("eth0"), mine), "eth1": reading(hosts[1].rawOn("eth1"), mine)}
	expect := func(name string, frame []byte) {
		t.Helper()
		select {
		case b := <-got[name]:
			if !bytes.Equal(b, frame) {
				t.Fatalf("%s: %x instead of %x", name, b, frame)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("nothing came to %s", name)
		}
	}
	station := learner.MAC{2, 0x77, 0, 0, 0, 1} // the same in both networks
	for i := range byte(20) {
		a, b := ethernet(learner.Broadcast, station, 60), ethernet(learner.Broadcast, station, 61)
		a[20], b[20] = i, i
		emit(t, first, a)
		emit(t, second, b)
		expect("eth0", a)
		expect("eth1", b)
	}
	if all := hosts[1].dp.MACs(); len(all) != 2 || all[0].Network.Name != "blue" || all[1].Network.Name != "default" {
		t.Fatalf("networks: %+v", all)
	}

	// Dropping one leaves the other's capture open and its MACs known.
	before := (*hosts[0].dp.byVNI.Load())[testVNI].port.Load()
	ok(t, hosts[0].dp.SetNetworks(networks()))
	if after := (*hosts[0].dp.byVNI.Load())[testVNI].port.Load(); after != before {
		t.Error("the capture of the network that stays was opened again")
	}
	last := ethernet(learner.Broadcast, station, 62)
	emit(t, first, last)
	expect("eth0", last)

	// A network whose interface is missing is named, and does not hinder the others.
	err := hosts[0].dp.SetNetworks(append(networks(), Network{Name: "green", VNI: 7, Capture: "ca9"}))
	if err == nil || !strings.Contains(err.Error(), "green") || !strings.Contains(err.Error(), "ca9") {
		t.Errorf("missing interface: %v", err)
	}
	emit(t, first, last)
	expect("eth0", last)
	if len(hosts[0].dp.MACs()) != 1 {
		t.Error("a network without a capture is listed")
	}
}

func TestACaptureComesBackWithItsInterface(t *testing.T) {
	hosts := newHosts(t, 2)
	h := hosts[0]
	ok(t, h.links.LinkDel(link(t, h.links, "po")))
	eventually(t, 5*time.Second, "capture gone", func() bool { return (*h.dp.byVNI.Load())[testVNI].port.Load() == nil })
	ok(t, h.dp.SetNetworks(networks())) // nothing to change
	veth(t, h.links, "po", "ca", testMTU, nil, nil)
	ok(t, h.links.LinkSetMaster(link(t, h.links, "po"), link(t, h.links, "br")))
	eventually(t, 5*time.Second, "capture back", func() bool { return (*h.dp.byVNI.Load())[testVNI].port.Load() != nil })
	eventually(t, 5*time.Second, "ping", func() bool {
		_, err := h.command("ping", "-c1", "-W1", hosts[1].ip4.String())
		return err == nil
	})
	// Down and up again, as a repair may do.
	ok(t, h.links.LinkSetDown(link(t, h.links, "ca")))
	ok(t, h.links.LinkSetUp(link(t, h.links, "ca")))
	eventually(t, 5*time.Second, "ping", func() bool {
		_, err := h.command("ping", "-c1", "-W1", hosts[1].ip4.String())
		return err == nil
	})
}

func TestAnUnpluggedStationCanBeForgotten(t *testing.T) {
	h := newHosts(t, 1)[0]
	station := learner.MAC{2, 0x77, 0, 0, 0, 1}
	emit(t, h.raw(), ethernet(learner.Broadcast, station, 60))
	known := func() bool {
		for _, e := range h.dp.MACs()[0].MACs {
			if e.MAC == station {
				return true
			}
		}
		return false
	}
	eventually(t, 5*time.Second, "learnt", known)
	h.dp.ForgetMAC(testVNI, station)
	h.dp.ForgetMAC(testVNI+1, station)
	if known() {
		t.Error("still known")
	}
}

func TestNewSaysWhatIsInTheWay(t *testing.T) {
	h := newHosts(t, 1)[0]
	if _, err := New(Options{Namespace: h.overlay, Address: h.address}); err == nil || !strings.Contains(err.Error(), "another datapath") {
		t.Errorf("a second datapath: %v", err)
	}
	null, err := os.Open(os.DevNull)
	ok(t, err)
	defer null.Close()
	if _, err := New(Options{Namespace: null, Address: netip.MustParseAddr("fd00::1")}); err == nil {
		t.Error("no namespace, and no error")
	}
}

// TestSteadyTrafficAllocatesNothing drives both ways by hand, over real sockets.
func TestSteadyTrafficAllocatesNothing(t *testing.T) {
	h := newHosts(t, 1)[0]
	peer := l2bridge.Member{ID: [16]byte{7}, Address: netip.MustParseAddr("fd00:77::7")}
	h.dp.Publish(Members{testVNI: {peer}})
	n := (*h.dp.byVNI.Load())[testVNI]
	out, in := newOutbound(h.dp, n), newInbound(h.dp)
	now := time.Now()
	frame := ethernet(learner.Broadcast, learner.MAC{2, 0x77, 0, 0, 0, 1}, 1000)
	back := vxlan(testVNI, ethernet(learner.MAC{2, 0x77, 0, 0, 0, 1}, learner.MAC{2, 0x78, 0, 0, 0, 1}, 1000))
	networks := *h.dp.byVNI.Load()
	if got := testing.AllocsPerRun(200, func() {
		out.segmenter.Reset()
		for range 8 {
			f := l2bridge.Frame{Data: frame}
			out.frame(now, &f)
		}
		out.sender.flush()
		for range 8 {
			in.packet(now, networks, peer.Address, back)
		}
		for _, j := range in.touched {
			in.inject(j)
		}
		in.touched = in.touched[:0]
		h.dp.totals.take(&out.counters)
		h.dp.totals.take(&in.counters)
	}); got >= 1 {
		t.Errorf("%v allocations for 8 frames each way", got)
	}
	if s := h.dp.Stats(); s.Drops[l2bridge.SendFailed] > 0 || s.Drops[l2bridge.InjectFailed] > 0 {
		t.Errorf("frames were not sent: %+v", s)
	}
}
