package datapath

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	nshandle "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testVNI = 0xabcdef
	testMTU = 1430 // 1500 of the wire less l2bridge.Overhead
)

// host is one node's overlay namespace, with a bridge and a container-like namespace on it.
type host struct {
	t         *testing.T
	id        topology.NodeID
	address   netip.Addr // overlay
	overlay   *os.File
	container *os.File
	mac       net.HardwareAddr // of the container's eth0
	ip4, ip6  netip.Addr       // of the container
	links     *netlink.Handle  // in overlay
	inside    *netlink.Handle  // in container
	dp        *Datapath
}

// newNamespace makes a network namespace that ends with its file.
func newNamespace(t *testing.T) (*os.File, *netlink.Handle) {
	t.Helper()
	var f *os.File
	err := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		if e := unix.Unshare(unix.CLONE_NEWNET); e != nil {
			err <- fmt.Errorf("unshare (these tests need root): %w", e)
			return
		}
		var e error
		f, e = os.Open("/proc/thread-self/ns/net")
		err <- e
	}()
	if e := <-err; e != nil {
		t.Fatal(e)
	}
	h, e := netlink.NewHandleAt(nshandle.NsHandle(f.Fd()), unix.NETLINK_ROUTE)
	if e != nil {
		t.Fatal(e)
	}
	t.Cleanup(func() {
		h.Close()
		f.Close()
	})
	ok(t, h.LinkSetUp(link(t, h, "lo")))
	return f, h
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func link(t testing.TB, h *netlink.Handle, name string) netlink.Link {
	t.Helper()
	l, err := h.LinkByName(name)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return l
}

func addAddress(t testing.TB, h *netlink.Handle, name, cidr string) {
	t.Helper()
	a, err := netlink.ParseAddr(cidr)
	ok(t, err)
	if a.IP.To4() == nil {
		a.Flags = unix.IFA_F_NODAD
	}
	ok(t, h.AddrAdd(link(t, h, name), a))
}

// veth makes a pair in h; the peer is moved to other, if given. Both ends are set up.
func veth(t testing.TB, h *netlink.Handle, name, peer string, mtu int, other *os.File, there *netlink.Handle) {
	t.Helper()
	ok(t, h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}, PeerName: peer}))
	if other != nil {
		ok(t, h.LinkSetNsFd(link(t, h, peer), int(other.Fd())))
	} else {
		there = h
	}
	ok(t, h.LinkSetUp(link(t, h, name)))
	ok(t, there.LinkSetUp(link(t, there, peer)))
	waitUp(t, h, name)
	waitUp(t, there, peer)
}

// waitUp waits until an interface carries frames: before the kernel has noticed the carrier (net/core/link_watch.c) it
// throws away what is sent.
func waitUp(t testing.TB, h *netlink.Handle, name string) {
	t.Helper()
	eventually(t, 10*time.Second, name+" up", func() bool { return link(t, h, name).Attrs().OperState == netlink.OperUp })
	ok(t, h.LinkSetUp(link(t, h, name))) // waits for the lock under which the above is done
}

// newHosts makes n hosts on one wire, each with a datapath that runs.
func newHosts(t *testing.T, n int) []*host {
	t.Helper()
	wire, wireLinks := newNamespace(t)
	bridge(t, wireLinks, "sw", 1500)
	hosts := make([]*host, n)
	for i := range hosts {
		h := &host{t: t, id: topology.NodeID{byte(i + 1)}, address: netip.MustParseAddr(fmt.Sprintf("fd00:77::%d", i+1))}
		hosts[i] = h
		h.overlay, h.links = newNamespace(t)
		ok(t, netns.Do(h.overlay, keepNetfilterOut))
		veth(t, h.links, "wire", fmt.Sprintf("h%d", i), 1500, wire, wireLinks)
		ok(t, wireLinks.LinkSetMaster(link(t, wireLinks, fmt.Sprintf("h%d", i)), link(t, wireLinks, "sw")))
		addAddress(t, h.links, "wire", h.address.String()+"/64")
		bridge(t, h.links, "br", testMTU)
		veth(t, h.links, "po", "ca", testMTU, nil, nil)
		ok(t, h.links.LinkSetMaster(link(t, h.links, "po"), link(t, h.links, "br")))
		h.container, h.inside = newNamespace(t)
		veth(t, h.links, "vp", "eth0", testMTU, h.container, h.inside)
		ok(t, h.links.LinkSetMaster(link(t, h.links, "vp"), link(t, h.links, "br")))
		h.ip4, h.ip6 = netip.MustParseAddr(fmt.Sprintf("10.32.0.%d", i+1)), netip.MustParseAddr(fmt.Sprintf("fd00:88::%d", i+1))
		addAddress(t, h.inside, "eth0", h.ip4.String()+"/24")
		addAddress(t, h.inside, "eth0", h.ip6.String()+"/64")
		h.mac = link(t, h.inside, "eth0").Attrs().HardwareAddr
		h.run()
	}
	publish(hosts)
	return hosts
}

func bridge(t testing.TB, h *netlink.Handle, name string, mtu int) {
	t.Helper()
	off := false
	ok(t, h.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu}, MulticastSnooping: &off}))
	ok(t, h.LinkSetUp(link(t, h, name)))
}

// run starts the host's datapath; it ends with the test.
func (h *host) run() {
	h.t.Helper()
	var err error
	log := zaptest.NewLogger(h.t, zaptest.Level(zap.InfoLevel)).With(zap.String("host", h.address.String()))
	h.dp, err = New(Options{Namespace: h.overlay, Address: h.address, Logger: log})
	ok(h.t, err)
	ok(h.t, h.dp.SetNetworks([]Network{{Name: "default", VNI: testVNI, Port: "po", Capture: "ca", MTU: testMTU}}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.dp.Run(ctx) }()
	h.t.Cleanup(func() {
		cancel()
		ok(h.t, <-done)
	})
}

// publish makes the hosts members of one network.
func publish(hosts []*host) {
	for _, h := range hosts {
		var list []l2bridge.Member
		for _, o := range hosts {
			if o != h {
				list = append(list, l2bridge.Member{ID: o.id, Address: o.address})
			}
		}
		h.dp.Publish(Members{testVNI: list})
	}
}

// command runs a program in the host's container.
func (h *host) command(name string, args ...string) (string, error) {
	var out []byte
	err := netns.Do(h.container, func() (err error) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		out, err = exec.CommandContext(ctx, name, args...).CombinedOutput()
		return err
	})
	return strings.TrimSpace(string(out)), err
}

// eventually waits for a condition.
func eventually(t testing.TB, limit time.Duration, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", limit, what)
		}
	}
}

// keepNetfilterOut does what the overlay namespace's owner does: br_netfilter, on by default in every new namespace,
// drops frames whose IP header it does not like.
func keepNetfilterOut() error {
	for _, f := range []string{"iptables", "ip6tables", "arptables"} {
		err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+f, []byte("0\n"), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
