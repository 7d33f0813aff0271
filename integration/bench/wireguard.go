package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/integration/lab"
)

// WireGuardMTU is what everybody's WireGuard uses on an Ethernet: 1500 - 80 for an IPv6 underlay.
const WireGuardMTU = 1420

// WireGuard is a bare tunnel, of the kernel or of wireguard-go, as weavewg would use here.
type WireGuard struct {
	// Program is wireguard-go, built from the library that weavewg is built with; "": the kernel's.
	Program string
	// Procs is GOMAXPROCS of wireguard-go; 0: its default.
	Procs int
	// Interface is the name at either end, with "a" or "b" behind it: wireguard-go's sockets share one folder,
	// whatever the namespace.
	Interface string

	running []lab.Process
}

// Name implements Contender.
func (w *WireGuard) Name() string {
	switch {
	case w.Program == "":
		return "kernel WireGuard"
	case w.Procs == 0:
		return "wireguard-go"
	}
	return fmt.Sprintf("wireguard-go, GOMAXPROCS=%d", w.Procs)
}

// Kind implements Contender.
func (w *WireGuard) Kind() Kind { return Bare }

// TunnelA and TunnelB are the addresses inside the tunnel.
var (
	TunnelA = netip.MustParseAddr("10.98.0.1")
	TunnelB = netip.MustParseAddr("10.98.0.2")
)

// Start implements Contender.
func (w *WireGuard) Start(ctx context.Context, p *Pair) (Route, error) {
	keyA, errA := wgtypes.GeneratePrivateKey()
	keyB, errB := wgtypes.GeneratePrivateKey()
	if err := errors.Join(errA, errB); err != nil {
		return Route{}, err
	}
	a := tunnelEnd{host: p.A, name: w.Interface + "a", key: keyA, addr: TunnelA, peer: keyB.PublicKey(), peerAddr: TunnelB, underlay: p.AddrB}
	b := tunnelEnd{host: p.B, name: w.Interface + "b", key: keyB, addr: TunnelB, peer: keyA.PublicKey(), peerAddr: TunnelA, underlay: p.AddrA}
	for _, end := range []tunnelEnd{a, b} {
		if err := w.make(ctx, end); err != nil {
			return Route{}, fmt.Errorf("%s: %s: %w", w.Name(), end.name, err)
		}
	}
	route := Route{From: p.A, To: p.B, Addr: TunnelB}
	return route, route.answers(ctx)
}

type tunnelEnd struct {
	host     *lab.Host
	name     string
	key      wgtypes.Key
	addr     netip.Addr
	peer     wgtypes.Key
	peerAddr netip.Addr
	underlay netip.Addr // of the peer
}

func (w *WireGuard) make(ctx context.Context, end tunnelEnd) error {
	if err := w.device(ctx, end); err != nil {
		return err
	}
	if err := waitFor(ctx, "the device to be configured", func() bool { return end.configure() == nil }); err != nil {
		return errors.Join(err, end.configure())
	}
	link, err := end.host.Netlink().LinkByName(end.name)
	if err != nil {
		return err
	}
	if err := end.host.Netlink().LinkSetMTU(link, WireGuardMTU); err != nil {
		return err
	}
	return addAddress(end.host.Space, end.name, netip.PrefixFrom(end.addr, 24))
}

func (w *WireGuard) device(ctx context.Context, end tunnelEnd) error {
	if w.Program == "" {
		return end.host.Netlink().LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: end.name}})
	}
	argv := []string{"env", "LOG_LEVEL=error"}
	if w.Procs > 0 {
		argv = append(argv, fmt.Sprintf("GOMAXPROCS=%d", w.Procs))
	}
	child, err := end.host.Start(ctx, append(argv, w.Program, "-f", end.name)...)
	if err != nil {
		return err
	}
	w.running = append(w.running, child)
	return nil
}

func (e tunnelEnd) configure() error {
	return e.host.Do(func() error {
		client, err := wgctrl.New() // bound to the thread's namespace
		if err != nil {
			return err
		}
		defer client.Close()
		port := 6783
		return client.ConfigureDevice(e.name, wgtypes.Config{
			PrivateKey: &e.key,
			ListenPort: &port,
			Peers: []wgtypes.PeerConfig{{
				PublicKey:  e.peer,
				Endpoint:   net.UDPAddrFromAddrPort(netip.AddrPortFrom(e.underlay, uint16(port))),
				AllowedIPs: []net.IPNet{{IP: e.peerAddr.AsSlice(), Mask: net.CIDRMask(32, 32)}},
			}},
		})
	})
}

// Stop implements Contender. A kernel device ends with its namespace.
func (w *WireGuard) Stop(ctx context.Context) error { return stopAll(ctx, w.running) }

// stopAll asks programs to end and, after 5 s, makes them.
func stopAll(ctx context.Context, running []lab.Process) error {
	var errs []error
	for _, p := range running {
		errs = append(errs, p.Signal(syscall.SIGTERM))
		patience, cancel := context.WithTimeout(ctx, 5*time.Second)
		if _, err := p.Wait(patience); err != nil {
			errs = append(errs, err, p.Signal(syscall.SIGKILL))
		}
		cancel()
	}
	return errors.Join(errs...)
}

// KernelHasWireGuard tries it in the host's namespace.
func KernelHasWireGuard(s *lab.Space) bool {
	link := &netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "wgprobe"}}
	if s.Netlink().LinkAdd(link) != nil {
		return false
	}
	return s.Netlink().LinkDel(link) == nil
}

// BuildWireGuardGo builds wireguard-go's own program from the module that weavewg uses.
func BuildWireGuardGo(ctx context.Context, out string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", out, "golang.zx2c4.com/wireguard")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build wireguard-go: %w: %s", err, text)
	}
	return nil
}
