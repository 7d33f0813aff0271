package wgdev_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/wgmesh"
	"github.com/weavewg/weavewg/wgmesh/keeper"
	"github.com/weavewg/weavewg/wgmesh/wgdev"
)

// The test binary is also the program whose hidden commands the keeper and its children are.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		run := map[string]func(context.Context, []string) error{"keeper": keeper.Main, "wireguard": keeper.ChildMain}[os.Args[1]]
		if run != nil {
			if err := run(context.Background(), os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m)
}

// namespace makes a network namespace that lives as long as the test.
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
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns
}

func linksAt(t *testing.T, ns *os.File) *netlink.Handle {
	t.Helper()
	at := vnetns.NsHandle(ns.Fd())
	h, err := netlink.NewHandleWithOptions(netlink.HandleOptions{RetryInterrupted: true, NetNS: &at}, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// host is one simulated host: a namespace with a keeper and a device.
type host struct {
	t       *testing.T
	ns      *os.File
	runDir  string
	id      string
	keeper  *keeper.Client
	dev     *wgdev.Device
	overlay netip.Addr
	under   netip.Addr
	key     wgtypes.Key
}

const testPort = 6783

// pair makes two hosts joined by a veth, each with its keeper running.
func pair(t *testing.T) (a, b *host) {
	t.Helper()
	a, b = bare(t, 1), bare(t, 2)
	ha, hb := linksAt(t, a.ns), linksAt(t, b.ns)
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(b.ns.Fd())}
	must(t, ha.LinkAdd(veth))
	for _, x := range []struct {
		h    *netlink.Handle
		addr netip.Addr
	}{{ha, a.under}, {hb, b.under}} {
		link, err := x.h.LinkByName("eth0")
		must(t, err)
		must(t, x.h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: x.addr.AsSlice(), Mask: net.CIDRMask(24, 32)}}))
		must(t, x.h.LinkSetUp(link))
	}
	a.start()
	b.start()
	return a, b
}

func bare(t *testing.T, n byte) *host {
	t.Helper()
	key, err := wgtypes.GeneratePrivateKey()
	must(t, err)
	return &host{
		t: t, ns: namespace(t), runDir: t.TempDir(), id: fmt.Sprintf("%04x%04x", os.Getpid()&0xffff, int(n)<<8|int(time.Now().UnixNano()&0xff)),
		overlay: netip.AddrFrom16([16]byte{0xfd, 1, 2, 3, 15: n}), under: netip.AddrFrom4([4]byte{10, 77, 0, n}), key: key,
	}
}

// start starts or adopts the keeper, and opens the device.
func (h *host) start() {
	h.t.Helper()
	must(h.t, netns.Do(h.ns, func() (err error) {
		h.keeper, err = keeper.Ensure(h.t.Context(), keeper.Options{RunDir: h.runDir, NodeID: h.id, Logger: zaptest.NewLogger(h.t)})
		return err
	}))
	c := h.keeper
	h.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		c.Close()
		if err := keeper.Stop(ctx, h.runDir); err != nil && !errors.Is(err, os.ErrNotExist) {
			h.t.Error(err)
		}
	})
	h.open(wgdev.Auto)
}

func (h *host) open(mode wgdev.Mode) {
	h.t.Helper()
	must(h.t, netns.Do(h.ns, func() (err error) {
		h.dev, err = wgdev.Open(wgdev.Options{Keeper: h.keeper, NodeID: h.id, Mode: mode})
		return err
	}))
	d := h.dev
	h.t.Cleanup(func() { d.Close() })
}

// spec is what the host should look like with one peer.
func (h *host) spec(peer *host) wgmesh.DeviceSpec {
	psk := wgtypes.Key{7, 7, 7}
	return wgmesh.DeviceSpec{
		Address: h.overlay,
		Slots: []wgmesh.SlotSpec{{
			PrivateKey: h.key, Port: testPort, MTU: 1420,
			Peers: []wgmesh.PeerSpec{{
				Key: peer.key.PublicKey(), PSK: psk, Endpoint: netip.AddrPortFrom(peer.under, testPort),
				Allowed: []netip.Prefix{netip.PrefixFrom(peer.overlay, 128)},
			}},
		}},
		Routes: []wgmesh.Route{{To: peer.overlay}},
	}
}

// converge does what the daemon does: observe, compare, apply. It returns the steps that were needed.
func (h *host) converge(spec wgmesh.DeviceSpec) []wgmesh.Op {
	h.t.Helper()
	status, err := h.dev.Observe()
	must(h.t, err)
	ops := wgmesh.Diff(spec, status)
	must(h.t, h.dev.Apply(ops))
	return ops
}

func (h *host) observe() wgmesh.DeviceStatus {
	h.t.Helper()
	status, err := h.dev.Observe()
	must(h.t, err)
	return status
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until f says yes.
func eventually(t *testing.T, within time.Duration, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); ; <-tick.C {
		if f() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

// echo is a socket in an overlay namespace that sends echo requests.
type echo struct {
	conn net.PacketConn
	to   net.Addr
}

func (h *host) echo(to netip.Addr) *echo {
	h.t.Helper()
	e := &echo{to: &net.IPAddr{IP: to.AsSlice()}}
	must(h.t, netns.Do(h.keeper.Namespace(), func() (err error) {
		e.conn, err = net.ListenPacket("ip6:ipv6-icmp", h.overlay.String())
		return err
	}))
	h.t.Cleanup(func() { e.conn.Close() })
	return e
}

func (e *echo) send(seq uint16) error {
	p := make([]byte, 64)
	p[0] = 128
	binary.BigEndian.PutUint16(p[6:], seq)
	_, err := e.conn.WriteTo(p, e.to) // the kernel sums ICMPv6 itself
	return err
}

// receive returns the sequence number of the next reply.
func (e *echo) receive(deadline time.Time) (uint16, error) {
	buf := make([]byte, 1500)
	if err := e.conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	for {
		n, _, err := e.conn.ReadFrom(buf)
		if err != nil {
			return 0, err
		}
		if n >= 8 && buf[0] == 129 {
			return binary.BigEndian.Uint16(buf[6:]), nil
		}
	}
}

// ping sends until an answer comes.
func (h *host) ping(to netip.Addr, within time.Duration) {
	h.t.Helper()
	e := h.echo(to)
	deadline := time.Now().Add(within)
	for seq := uint16(1); time.Now().Before(deadline); seq++ {
		_ = e.send(seq) // ENOKEY and the like while there is no session
		if _, err := e.receive(time.Now().Add(100 * time.Millisecond)); err == nil {
			return
		}
	}
	log, _ := os.ReadFile(keeper.LogPath(h.runDir))
	h.t.Fatalf("no echo reply from %s within %s; keeper.log: %s", to, within, strings.TrimSpace(string(log)))
}
