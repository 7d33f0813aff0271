package rawudp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	testMagic = [4]byte([]byte("wvwg"))
	families  = []string{"IPv4", "IPv6"}
)

const testPort = 6783

// host is a namespace with one interface, eth0, and an address of each family on it.
type host struct {
	t     *testing.T
	ns    *os.File
	addrs map[string]netip.Addr
}

// pair makes two hosts on one cable.
func pair(t *testing.T) (a, b *host) {
	t.Helper()
	a, b = newHost(t, 1), newHost(t, 2)
	peer := netlink.NsFd(b.ns.Fd())
	must(t, a.links().LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: peer}))
	for _, h := range []*host{a, b} {
		links := h.links()
		link, err := links.LinkByName("eth0")
		must(t, err)
		h.address(h.addrs["IPv4"], 24)
		h.address(h.addrs["IPv6"], 64)
		must(t, links.LinkSetUp(link))
	}
	for _, h := range []*host{a, b} {
		h.ready(h.addrs["IPv4"], h.addrs["IPv6"])
	}
	return a, b
}

func newHost(t *testing.T, n byte) *host {
	t.Helper()
	h := &host{t: t, ns: namespace(t), addrs: map[string]netip.Addr{
		"IPv4": netip.AddrFrom4([4]byte{10, 78, 0, n}), "IPv6": netip.AddrFrom16([16]byte{0xfd, 0x78, 15: n}),
	}}
	// Package net asks once, on loopback, whether sockets can be for both families.
	links := h.links()
	lo, err := links.LinkByName("lo")
	must(t, err)
	must(t, links.LinkSetUp(lo))
	return h
}

func namespace(t *testing.T) *os.File {
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
	t.Cleanup(func() { ns.Close() })
	return ns
}

func (h *host) links() *netlink.Handle {
	h.t.Helper()
	at := vnetns.NsHandle(h.ns.Fd())
	links, err := netlink.NewHandleWithOptions(netlink.HandleOptions{RetryInterrupted: true, NetNS: &at}, unix.NETLINK_ROUTE)
	must(h.t, err)
	h.t.Cleanup(func() { links.Close() })
	return links
}

// ready waits until the kernel has noticed that the cable has two ends, and takes packets to the given addresses for its
// own; both happens some time later.
func (h *host) ready(addrs ...netip.Addr) {
	h.t.Helper()
	links := h.links()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); ; <-tick.C {
		link, err := links.LinkByName("eth0")
		must(h.t, err)
		if link.Attrs().OperState == netlink.OperUp && !slices.ContainsFunc(addrs, func(a netip.Addr) bool {
			routes, err := links.RouteGetWithOptions(a.AsSlice(), &netlink.RouteGetOptions{OifIndex: link.Attrs().Index})
			return err != nil || len(routes) != 1 || routes[0].Type != unix.RTN_LOCAL
		}) {
			return
		}
		if time.Now().After(end) {
			h.t.Fatal("eth0 is not ready")
		}
	}
}

func (h *host) address(addr netip.Addr, bits int) {
	h.t.Helper()
	links := h.links()
	link, err := links.LinkByName("eth0")
	must(h.t, err)
	must(h.t, links.AddrAdd(link, &netlink.Addr{
		IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(bits, addr.BitLen())}, Flags: unix.IFA_F_NODAD,
	}))
}

// at is an address of the host.
func (h *host) at(family string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(h.addrs[family], port)
}

// open opens a Socket for three ports there.
func (h *host) open() *Socket {
	h.t.Helper()
	var s *Socket
	must(h.t, netns.Do(h.ns, func() (err error) {
		s, err = Open(testPort, testPort+2, testMagic)
		return err
	}))
	h.t.Cleanup(func() { must(h.t, s.Close()) })
	return s
}

// owner binds a UDP socket, as WireGuard does.
func (h *host) owner(port uint16) *net.UDPConn {
	h.t.Helper()
	var c *net.UDPConn
	must(h.t, netns.Do(h.ns, func() (err error) {
		c, err = net.ListenUDP("udp", &net.UDPAddr{Port: int(port)})
		return err
	}))
	h.t.Cleanup(func() { c.Close() })
	must(h.t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	return c
}

// heard is one result of Receive.
type heard struct {
	payload  string
	at, from netip.AddrPort
	err      error
}

// next receives, for a few seconds at most.
func next(t *testing.T, s *Socket) heard {
	t.Helper()
	result := make(chan heard, 1)
	go func() {
		buf := make([]byte, maxPacket)
		n, at, from, err := s.Receive(buf)
		result <- heard{string(buf[:n]), at, from, err}
	}()
	select {
	case h := <-result:
		if h.err != nil && !errors.Is(h.err, net.ErrClosed) {
			t.Fatal(h.err)
		}
		return h
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		return heard{}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
