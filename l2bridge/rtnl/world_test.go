package rtnl_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/l2bridge/rtnl"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fresh makes a network namespace that lives until the returned file is closed.
func fresh(t *testing.T) *os.File {
	t.Helper()
	var ns *os.File
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread goes with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = netns.Own()
		}
		made <- err
	}()
	must(t, <-made)
	return ns
}

func kept(t *testing.T) *os.File {
	t.Helper()
	ns := fresh(t)
	t.Cleanup(func() { ns.Close() })
	return ns
}

func linksAt(t *testing.T, ns *os.File) *netlink.Handle {
	t.Helper()
	at := vnetns.NsHandle(ns.Fd())
	h, err := netlink.NewHandleWithOptions(netlink.HandleOptions{RetryInterrupted: true, NetNS: &at}, unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// world is one node's two namespaces with an edge.
type world struct {
	t             *testing.T
	overlay, host *os.File
	links         *netlink.Handle // of the overlay
	edge          *rtnl.Edge
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, overlay: kept(t), host: kept(t)}
	w.links = linksAt(t, w.overlay)
	must(t, netns.Do(w.host, func() (err error) { w.edge, err = rtnl.Open(w.overlay); return err }))
	t.Cleanup(func() { must(t, w.edge.Close()) })
	return w
}

// converge takes the steps to spec, and fails the test unless a second look finds nothing more to do.
func (w *world) converge(spec l2bridge.Spec) []l2bridge.Op {
	w.t.Helper()
	status, err := w.edge.Observe()
	must(w.t, err)
	ops := l2bridge.Diff(spec, status)
	must(w.t, w.edge.Apply(ops))
	status, err = w.edge.Observe()
	must(w.t, err)
	if more := l2bridge.Diff(spec, status); len(more) > 0 {
		w.t.Fatalf("after %v there is still %v to do; observed %+v", ops, more, status)
	}
	return ops
}

const blue = 0x00b10e

func oneNetwork() l2bridge.Spec {
	return l2bridge.Spec{Networks: []l2bridge.NetworkSpec{{Name: "blue", VNI: blue, MTU: 1280}}}
}

func port(id string, n byte, target *os.File) rtnl.PortSpec {
	return rtnl.PortSpec{
		ID: id, VNI: blue, Target: target, MAC: net.HardwareAddr{2, 0, 0, 0, 0, n}, MTU: 1280,
		Addresses: []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 32, 0, n}), 12),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfd, 0xaa, 15: n}), 64),
		},
	}
}

// talks sends a datagram from one namespace to an address in another and waits for it.
func talks(t *testing.T, from, to *os.File, address netip.Addr) {
	t.Helper()
	var in, out net.PacketConn
	udp := "udp4"
	if address.Is6() {
		udp = "udp6"
	}
	must(t, netns.Do(to, func() (err error) {
		in, err = net.ListenPacket(udp, net.JoinHostPort(address.String(), "0"))
		return err
	}))
	defer in.Close()
	must(t, netns.Do(from, func() (err error) { out, err = net.ListenPacket(udp, ":0"); return err }))
	defer out.Close()
	word := fmt.Sprintf("hello %s", address)
	_, err := out.WriteTo([]byte(word), in.LocalAddr())
	must(t, err)
	must(t, in.SetReadDeadline(time.Now().Add(5*time.Second)))
	buf := make([]byte, 100)
	n, _, err := in.ReadFrom(buf)
	if err != nil || string(buf[:n]) != word {
		t.Fatalf("%s heard %q, %v", address, buf[:n], err)
	}
}
