package wgdev

import (
	"errors"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/wgmesh"
)

// MinMTU of a WireGuard device: with less, Linux drops the IPv6 addresses of networks inside (DESIGN 3.3).
const MinMTU = 1350

// addSlot makes the device, or completes one that exists without a key.
func (d *Device) addSlot(op wgmesh.AddSlot) error {
	if op.MTU < MinMTU {
		return fmt.Errorf("mtu %d is below %d", op.MTU, MinMTU)
	}
	name := d.Name(op.Slot)
	made, err := d.makeLink(name, op.MTU)
	if err != nil {
		return err
	}
	device, err := d.read(name)
	if err != nil {
		return err
	}
	switch {
	case device.PrivateKey == op.PrivateKey && op.PrivateKey != (wgtypes.Key{}):
	case device.PrivateKey != wgtypes.Key{}:
		return errors.New("the device has another key, and a key is never changed in place")
	default:
		key := op.PrivateKey
		if key == (wgtypes.Key{}) {
			if key, err = wgtypes.GeneratePrivateKey(); err != nil {
				return err
			}
		}
		if err := d.configure(op.Slot, wgtypes.Config{PrivateKey: &key}); err != nil {
			return fmt.Errorf("set the key: %w", err)
		}
	}
	err = d.setSlot(wgmesh.SetSlot{Slot: op.Slot, Port: op.Port, MTU: op.MTU, Up: true})
	if err != nil && made { // leave no device behind that carries nothing
		return errors.Join(err, d.delSlot(op.Slot))
	}
	return err
}

// makeLink makes the interface in the overlay namespace, with its UDP socket to be in the host's.
func (d *Device) makeLink(name string, mtu int) (made bool, err error) {
	_, err = d.links.LinkByName(name)
	exists := err == nil
	if !d.kernel {
		ctx, cancel := timeout()
		defer cancel()
		_, err := d.keeper.WireGuard(ctx, name, mtu, d.procs) // also makes the process, where that is missing
		return !exists, err
	}
	if exists {
		return false, nil
	}
	// A kernel device's socket stays where the device was made.
	host, err := handleAt(d.host)
	if err != nil {
		return false, err
	}
	defer host.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	link := &netlink.Wireguard{LinkAttrs: attrs}
	if left, err := host.LinkByName(name); err == nil && left.Type() == link.Type() {
		if err := host.LinkDel(left); err != nil { // of a start that was cut short
			return false, err
		}
	}
	if err := host.LinkAdd(link); err != nil {
		return false, err
	}
	if err := host.LinkSetNsFd(link, int(d.overlay.Fd())); err != nil {
		return false, errors.Join(fmt.Errorf("move into the overlay namespace: %w", err), host.LinkDel(link))
	}
	return true, nil
}

func (d *Device) setSlot(op wgmesh.SetSlot) error {
	if op.MTU != 0 && op.MTU < MinMTU {
		return fmt.Errorf("mtu %d is below %d", op.MTU, MinMTU)
	}
	link, err := d.links.LinkByName(d.Name(op.Slot))
	if err != nil {
		return err
	}
	if op.MTU != 0 && link.Attrs().MTU != op.MTU {
		if err := d.links.LinkSetMTU(link, op.MTU); err != nil {
			return fmt.Errorf("set mtu %d: %w", op.MTU, err)
		}
	}
	if op.Port != 0 {
		port := int(op.Port)
		if err := d.taken(d.configure(op.Slot, wgtypes.Config{ListenPort: &port}), op.Port); err != nil {
			return err
		}
	}
	if op.Up {
		if err := d.taken(d.links.LinkSetUp(link), op.Port); err != nil { // a kernel device binds its socket now
			return err
		}
	}
	return nil
}

func (d *Device) delSlot(s wgmesh.Slot) error {
	name := d.Name(s)
	if !d.kernel {
		ctx, cancel := timeout()
		defer cancel()
		return d.keeper.Drop(ctx, name)
	}
	link, err := d.links.LinkByName(name)
	if err != nil {
		return gone(err)
	}
	return gone(d.links.LinkDel(link))
}

// taken says who has a port that could not be bound, in the namespace where the sockets are. wgctrl hands a userspace
// device's error on as text only.
func (d *Device) taken(err error, port uint16) error {
	inUse := fmt.Sprintf("errno=%d", ipc.IpcErrorPortInUse)
	if errors.Is(err, unix.EADDRINUSE) || err != nil && strings.HasSuffix(err.Error(), inUse) {
		return netns.Do(d.host, func() error { return PortTaken("udp", port) })
	}
	return err
}
