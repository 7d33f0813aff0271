package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// childTUN is wireguard-go's TUN device, except that it learns its MTU from a netlink socket of the namespace in which
// the interface is: the device's own way, an ioctl by name, asks the namespace that the process is in. The MTU matters:
// WireGuard pads packets to 16 bytes, but never past it.
type childTUN struct {
	tun.Device
	name   string
	mtu    atomic.Int32
	links  *os.File
	events chan tun.Event
}

func newChildTUN(fd int, links *os.File, name string, mtu int) (*childTUN, error) {
	dev, actual, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("TUN of %s: %w", name, err)
	}
	if actual != name {
		return nil, errors.Join(fmt.Errorf("TUN is %s, not %s", actual, name), dev.Close())
	}
	t := &childTUN{Device: dev, name: name, links: links, events: make(chan tun.Event, 1)}
	t.mtu.Store(int32(mtu))
	go t.watch()
	return t, nil
}

func (t *childTUN) MTU() (int, error)        { return int(t.mtu.Load()), nil }
func (t *childTUN) Events() <-chan tun.Event { return t.events }

// Close ends the watch, which closes the events.
func (t *childTUN) Close() error { return errors.Join(t.links.Close(), t.Device.Close()) }

// watch follows the interface's MTU until the socket is closed.
func (t *childTUN) watch() {
	defer close(t.events)
	buf := make([]byte, 1<<16)
	for {
		n, err := t.links.Read(buf)
		if errors.Is(err, unix.ENOBUFS) {
			continue // news were lost; the next one holds the MTU too
		}
		if err != nil {
			return
		}
		if mtu, ok := linkMTU(buf[:n], t.name); ok && t.mtu.Swap(int32(mtu)) != int32(mtu) {
			select {
			case t.events <- tun.EventMTUUpdate:
			default: // one is waiting, and reads the newest
			}
		}
	}
}

// linkMTU returns the MTU that the last RTM_NEWLINK message about the named interface states (rtnetlink(7)).
func linkMTU(data []byte, name string) (mtu uint32, ok bool) {
	messages, err := syscall.ParseNetlinkMessage(data)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWLINK {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			continue
		}
		var stated uint32
		var about string
		for _, a := range attributes {
			switch {
			case a.Attr.Type == unix.IFLA_IFNAME:
				about = unix.ByteSliceToString(a.Value)
			case a.Attr.Type == unix.IFLA_MTU && len(a.Value) == 4:
				stated = binary.NativeEndian.Uint32(a.Value)
			}
		}
		if about == name && stated > 0 {
			mtu, ok = stated, true
		}
	}
	return mtu, ok
}
