package wgdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"

	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/wgmesh"
	"github.com/weavewg/weavewg/wgmesh/keeper"
)

// Options of Open.
type Options struct {
	Keeper *keeper.Client
	NodeID string // first 8 digits of the node's id: userspace sockets of all namespaces share one folder
	Mode   Mode
	Procs  int // GOMAXPROCS of userspace devices' processes; 0: Go's own choice
}

// Device is the overlay namespace's WireGuard side. It implements wgmesh.Device: one goroutine calls it.
type Device struct {
	keeper  *keeper.Client
	prefix  string   // of interface names
	overlay *os.File // the keeper client's
	host    *os.File // namespace of the sockets
	links   *netlink.Handle
	wg      *wgctrl.Client
	procs   int
	kernel  bool
	reason  string
	guard   guard
}

var _ wgmesh.Device = (*Device)(nil)

// Open finds out which WireGuard to use and connects to it. The calling thread's network namespace is where the
// kernel's devices get their sockets, so call it where the keeper was started. It changes nothing but the namespace's
// own settings (no forwarding, no router advertisements).
func Open(o Options) (*Device, error) {
	d := &Device{keeper: o.Keeper, prefix: "wg-" + o.NodeID + "-", overlay: o.Keeper.Namespace(), procs: o.Procs}
	if err := d.open(o.Mode); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func (d *Device) open(mode Mode) (err error) {
	if d.host, err = netns.Own(); err != nil {
		return err
	}
	if d.links, err = handleAt(d.overlay); err != nil {
		return fmt.Errorf("netlink in the overlay namespace: %w", err)
	}
	if err := d.settle(); err != nil {
		return err
	}
	if err := d.choose(mode); err != nil {
		return err
	}
	// After the choice, which may have loaded the kernel's module: the client looks for it only now.
	if err := netns.Do(d.overlay, func() error { d.wg, err = wgctrl.New(); return err }); err != nil {
		return fmt.Errorf("wgctrl: %w", err)
	}
	d.guard = newGuard(d.overlay)
	return nil
}

func handleAt(ns *os.File) (*netlink.Handle, error) {
	at := vnetns.NsHandle(ns.Fd())
	return netlink.NewHandleWithOptions(netlink.HandleOptions{RetryInterrupted: true, DisableVFInfoCollection: true, NetNS: &at}, unix.NETLINK_ROUTE)
}

// Close lets go; devices stay as they are.
func (d *Device) Close() error {
	var errs []error
	if d.wg != nil {
		errs = append(errs, d.wg.Close())
	}
	if d.links != nil {
		errs = append(errs, d.links.Close())
	}
	if d.host != nil {
		errs = append(errs, d.host.Close())
	}
	return errors.Join(errs...)
}

// Kernel says whether WireGuard is the kernel's, and why or why not.
func (d *Device) Kernel() (kernel bool, reason string) { return d.kernel, d.reason }

// GuardProblem says why the guard rules are not in force; nil when they are. Known after Observe.
func (d *Device) GuardProblem() error { return d.guard.problem }

// Name returns the interface name of a slot.
func (d *Device) Name(s wgmesh.Slot) string { return d.prefix + strconv.Itoa(int(s)) }

// slotOf is the inverse of Name.
func (d *Device) slotOf(name string) (wgmesh.Slot, bool) {
	digits, ours := strings.CutPrefix(name, d.prefix)
	n, err := strconv.ParseUint(digits, 10, 8)
	return wgmesh.Slot(n), ours && err == nil
}

// timeout bounds one request to the keeper.
func timeout() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), requestTimeout)
}
