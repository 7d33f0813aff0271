package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

// childTUN is wireguard-go's TUN device, except for two things. It learns its MTU from a netlink socket of the namespace in
// which the interface is: the device's own way, an ioctl by name, asks the namespace that the process is in. The MTU matters:
// WireGuard pads packets to 16 bytes, but never past it. And it cuts and joins the datapath's datagrams without copying them.
type childTUN struct {
	tun.Device
	conn    syscall.RawConn
	joins   bool // the kernel takes joined datagrams (Linux 6.2)
	yields  bool // who reads lets all others work before it reads again: with one processor it would else run far ahead of them
	reader  *tunReader
	writing sync.Mutex
	writer  *tunWriter

	name   string
	mtu    atomic.Int32
	links  *os.File
	events chan tun.Event
}

// offloads are all that wireguard-go asks for. Without those of UDP, which came last, it asks for the others.
const offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_USO4 | unix.TUN_F_USO6

func newChildTUN(fd int, links *os.File, name string, mtu int) (*childTUN, error) {
	dev, actual, err := tun.CreateUnmonitoredTUNFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("TUN of %s: %w", name, err)
	}
	if actual != name {
		return nil, errors.Join(fmt.Errorf("TUN is %s, not %s", actual, name), dev.Close())
	}
	t := &childTUN{
		Device: dev, name: name, links: links, events: make(chan tun.Event, 1),
		reader: newTUNReader(), writer: newTUNWriter(),
	}
	if t.conn, err = dev.File().SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("TUN of %s: %w", name, err), dev.Close())
	}
	_ = t.conn.Control(func(fd uintptr) { t.joins = unix.IoctlSetInt(int(fd), unix.TUNSETOFFLOAD, offloads) == nil })
	t.mtu.Store(int32(mtu))
	go t.watch()
	return t, nil
}

func (t *childTUN) MTU() (int, error)        { return int(t.mtu.Load()), nil }
func (t *childTUN) Events() <-chan tun.Event { return t.events }

// Read implements tun.Device.
func (t *childTUN) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	if t.yields {
		runtime.Gosched()
	}
	return t.reader.read(t.conn, bufs, sizes, offset)
}

// Write implements tun.Device. It joins the datagrams of the datapath; what else there is, it leaves to wireguard-go.
// Peers call it at the same time.
func (t *childTUN) Write(bufs [][]byte, offset int) (int, error) {
	if !t.joins || offset < vnetHeader {
		return t.Device.Write(bufs, offset)
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	var failed error
	for i := 0; i < len(bufs); i++ {
		if datagram(bufs[i][offset:]) {
			failed = errors.Join(failed, t.writer.write(t.conn, bufs[i][offset-vnetHeader:]))
			continue
		}
		others := i
		for i++; i < len(bufs) && !datagram(bufs[i][offset:]); i++ {
		}
		failed = errors.Join(failed, t.writer.flush(t.conn))
		_, err := t.Device.Write(bufs[others:i], offset)
		failed = errors.Join(failed, err)
		i--
	}
	return len(bufs), errors.Join(failed, t.writer.flush(t.conn))
}

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
