package rtnl

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/netns"
)

// Edge changes the bridges of one overlay namespace. Its methods may be called from several goroutines; they take turns.
type Edge struct {
	mu      sync.Mutex
	overlay *os.File
	host    *os.File
	links   *netlink.Handle // in the overlay namespace
}

// Open connects to the overlay namespace. The calling thread's own namespace is the host's, which Expose plugs in. The
// overlay's descriptor stays the caller's and has to outlive the edge.
func Open(overlay *os.File) (*Edge, error) {
	host, err := netns.Own()
	if err != nil {
		return nil, err
	}
	links, err := handleAt(overlay)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in the overlay namespace: %w", err), host.Close())
	}
	return &Edge{overlay: overlay, host: host, links: links}, nil
}

// Close lets go; bridges and ports stay.
func (e *Edge) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(e.links.Close(), e.host.Close())
}

func handleAt(ns *os.File) (*netlink.Handle, error) {
	at := vnetns.NsHandle(ns.Fd())
	return netlink.NewHandleWithOptions(netlink.HandleOptions{RetryInterrupted: true, DisableVFInfoCollection: true, NetNS: &at}, unix.NETLINK_ROUTE)
}

// Apply does the steps in order and stops at the first that fails; what was done stays, and Observe shows it.
func (e *Edge) Apply(ops []l2bridge.Op) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, op := range ops {
		if err := e.apply(op); err != nil {
			return err
		}
	}
	return nil
}

func (e *Edge) apply(op l2bridge.Op) error {
	switch op := op.(type) {
	case l2bridge.AddBridge:
		return named(op.NetworkSpec, e.addBridge(op.NetworkSpec))
	case l2bridge.AddPair:
		return named(op.NetworkSpec, e.addPair(op.NetworkSpec))
	case l2bridge.SetNetwork:
		return named(op.NetworkSpec, e.setNetwork(op.NetworkSpec))
	case l2bridge.BridgePort:
		if err := e.bridgePort(op.Link, op.VNI); err != nil {
			return fmt.Errorf("port %s: %w", op.Link, err)
		}
		return nil
	case l2bridge.DelPort:
		return e.remove(op.Link)
	case l2bridge.DelNetwork:
		return errors.Join(e.remove(l2bridge.OverlayPortName(op.VNI)), e.remove(l2bridge.BridgeName(op.VNI)))
	default:
		return fmt.Errorf("rtnl: unknown step %T", op)
	}
}

func named(n l2bridge.NetworkSpec, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("network %s: %w", n.Name, err)
}

// remove deletes a link; that it is not there is fine.
func (e *Edge) remove(name string) error {
	link, err := e.links.LinkByName(name)
	if err == nil {
		err = e.links.LinkDel(link)
	}
	if err != nil && !missing(err) {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// missing says that what the error is about is not there.
func missing(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist)
}

// sysctl6 writes an IPv6 setting of one interface in the given namespace: files under /proc/sys/net belong to the
// namespace of the thread that opens them. A kernel without IPv6 lacks them, and then there is nothing to switch off.
func sysctl6(ns *os.File, name, key, value string) error {
	path := "/proc/sys/net/ipv6/conf/" + name + "/" + key
	err := netns.Do(ns, func() error { return os.WriteFile(path, []byte(value), 0) })
	if errors.Is(err, os.ErrNotExist) && value != "0" {
		return nil
	}
	return err
}
