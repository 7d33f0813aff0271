package keeper

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

func TestDeviceIsInTheOverlayAndItsSocketInTheHost(t *testing.T) {
	ns := host(t)
	c := started(t, ns, t.TempDir())
	name := deviceName(t)
	pid, err := c.WireGuard(t.Context(), name, 1400, 0)
	must(t, err)
	again, err := c.WireGuard(t.Context(), name, 1400, 0)
	must(t, err)
	if again != pid {
		t.Errorf("asked twice, pid %d became %d", pid, again)
	}
	overlay := linksAt(t, c.Namespace())
	_, err = overlay.LinkByName(name)
	must(t, err)
	in, err := netns.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	must(t, err)
	defer in.Close()
	if !netns.Same(in, ns) {
		t.Error("the child is not in the host's namespace")
	}
	wg, err := wgctrl.New()
	must(t, err)
	defer wg.Close()
	key, port := wgtypes.Key{1}, 6783
	must(t, wg.ConfigureDevice(name, wgtypes.Config{PrivateKey: &key, ListenPort: &port}))
	err = netns.Do(ns, func() error {
		c, err := net.ListenPacket("udp4", ":6783")
		if err == nil {
			c.Close()
		}
		return err
	})
	if err == nil {
		t.Error("nobody holds the port in the host's namespace")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	must(t, err)
	if got := strings.TrimSpace(string(status)); got != name {
		t.Errorf("the process list calls it %q", got)
	}
	must(t, c.Drop(t.Context(), name))
	must(t, c.Drop(t.Context(), name))
	if _, err := overlay.LinkByName(name); err == nil {
		t.Error("the interface is still there")
	}
	if alive(pid) {
		t.Error("the child is still there")
	}
}

func TestKilledChildIsReplacedBehindTheSameInterface(t *testing.T) {
	c := started(t, host(t), t.TempDir())
	name := deviceName(t)
	pid, err := c.WireGuard(t.Context(), name, 1420, 0)
	must(t, err)
	links := linksAt(t, c.Namespace())
	before, err := links.LinkByName(name)
	must(t, err)
	wg, err := wgctrl.New()
	must(t, err)
	defer wg.Close()
	for range 3 {
		begun := time.Now()
		must(t, unix.Kill(pid, unix.SIGKILL))
		e := event(t, c)
		t.Logf("replaced after %s: %+v", time.Since(begun), e)
		if e.Name != name || e.PID == 0 || e.PID == pid || !strings.Contains(e.Reason, "killed") {
			t.Fatalf("event %+v", e)
		}
		pid = e.PID
		device, err := wg.Device(name) // its socket is served when the event comes
		must(t, err)
		if device.PrivateKey != (wgtypes.Key{}) {
			t.Error("the new child has a key already")
		}
	}
	after, err := links.LinkByName(name)
	must(t, err)
	if after.Attrs().Index != before.Attrs().Index {
		t.Errorf("interface %d became %d", before.Attrs().Index, after.Attrs().Index)
	}
}

func event(t *testing.T, c *Client) Event {
	t.Helper()
	select {
	case e := <-c.Events():
		return e
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
		return Event{}
	}
}

func TestDeletedInterface(t *testing.T) {
	c := started(t, host(t), t.TempDir())
	name := deviceName(t)
	pid, err := c.WireGuard(t.Context(), name, 1420, 0)
	must(t, err)
	links := linksAt(t, c.Namespace())
	link, err := links.LinkByName(name)
	must(t, err)
	must(t, links.LinkDel(link))
	if e := event(t, c); e.Name != name || e.PID != 0 || !strings.Contains(e.Reason, "deleted") {
		t.Errorf("event %+v", e)
	}
	eventually(t, "its process ends", func() bool { return !alive(pid) })
	_, err = c.WireGuard(t.Context(), name, 1420, 0)
	must(t, err)
	_, err = links.LinkByName(name)
	must(t, err)
}

// A foreign process that serves the same UAPI socket is named as the reason, and nothing is left behind.
func TestSocketInUse(t *testing.T) {
	c := started(t, host(t), t.TempDir())
	name := deviceName(t)
	must(t, os.MkdirAll("/var/run/wireguard", 0o755))
	foreign, err := net.Listen("unix", "/var/run/wireguard/"+name+".sock")
	must(t, err)
	_, err = c.WireGuard(t.Context(), name, 1420, 0)
	if err == nil || !strings.Contains(err.Error(), "socket in use") || !strings.Contains(err.Error(), name) {
		t.Errorf("got %v", err)
	}
	links := linksAt(t, c.Namespace())
	eventually(t, "no interface is left", func() bool { _, err := links.LinkByName(name); return err != nil })
	must(t, foreign.Close())
	_, err = c.WireGuard(t.Context(), name, 1420, 0)
	must(t, err)
}

// The child hears of a new MTU of its interface, which is in another namespace than itself.
func TestLinkMTU(t *testing.T) {
	c := started(t, host(t), t.TempDir())
	name := deviceName(t)
	var socket *os.File
	must(t, netns.Do(c.Namespace(), func() (err error) { socket, err = openLinkSocket(); return err }))
	dev := &childTUN{name: name, links: socket}
	dev.events = make(chan tun.Event, 1)
	dev.mtu.Store(1420)
	go dev.watch()
	_, err := c.WireGuard(t.Context(), name, 1420, 0)
	must(t, err)
	links := linksAt(t, c.Namespace())
	link, err := links.LinkByName(name)
	must(t, err)
	must(t, links.LinkSetMTU(link, 1384))
	eventually(t, "the MTU is known", func() bool { mtu, err := dev.MTU(); return err == nil && mtu == 1384 })
	select {
	case <-dev.Events():
	case <-time.After(5 * time.Second):
		t.Error("no event")
	}
	must(t, socket.Close())
	for range dev.Events() { // until it is closed
	}
}

func FuzzLinkMTU(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{32, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if mtu, ok := linkMTU(data, "wg0"); ok && mtu == 0 {
			t.Error("an MTU of 0")
		}
	})
}
