package wgdev

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Mode is the configuration's choice of WireGuard.
type Mode string

// The modes.
const (
	Auto      Mode = "auto" // the kernel's, if it has one
	Kernel    Mode = "kernel"
	Userspace Mode = "userspace"
)

const requestTimeout = 15 * time.Second

// choose sets kernel and reason. Devices that exist keep their kind: changing it would end every session.
func (d *Device) choose(mode Mode) error {
	links, err := d.links.LinkList()
	if err != nil {
		return fmt.Errorf("list the overlay's interfaces: %w", err)
	}
	for _, link := range links {
		if _, ours := d.slotOf(link.Attrs().Name); !ours {
			continue
		}
		d.kernel = link.Type() == "wireguard"
		kind := Userspace
		if d.kernel {
			kind = Kernel
		}
		d.reason = "adopted"
		if mode != Auto && mode != kind {
			d.reason = fmt.Sprintf("adopted; the configuration says %s, which takes effect after weavewg down and up", mode)
		}
		return nil
	}
	if mode == Userspace {
		d.reason = "configured"
		return nil
	}
	missing := d.probe()
	switch {
	case missing == nil:
		d.kernel, d.reason = true, "the kernel has WireGuard"
		return nil
	case mode == Kernel:
		return fmt.Errorf("wireguard: kernel: %w: load the wireguard module, or set wireguard: auto", missing)
	default:
		d.reason = missing.Error()
		return nil
	}
}

// probe makes a WireGuard device of the kernel's and removes it; making one loads the module where there is one.
func (d *Device) probe() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = d.prefix + "p"
	link := &netlink.Wireguard{LinkAttrs: attrs}
	if err := d.links.LinkAdd(link); err != nil && !errors.Is(err, unix.EEXIST) {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return errors.New("the kernel has no WireGuard")
		}
		return fmt.Errorf("the kernel makes no WireGuard device: %w", err)
	}
	if err := d.links.LinkDel(link); err != nil {
		return fmt.Errorf("remove %s: %w", link.Name, err)
	}
	return nil
}
