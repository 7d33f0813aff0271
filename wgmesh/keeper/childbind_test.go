package keeper

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// ear listens on an address of the loopback.
func ear(t *testing.T, address string) (*net.UDPConn, string) {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c, c.LocalAddr().String()
}

func hears(t *testing.T, c *net.UDPConn, want []byte) error {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	n, err := c.Read(buf)
	if err == nil && !bytes.Equal(buf[:n], want) {
		err = fmt.Errorf("%d bytes came, want %d", n, len(want))
	}
	return err
}

// alternate sends to both families in turns, and says what did not arrive at the second.
func alternate(t *testing.T, b conn.Bind) (lost error) {
	t.Helper()
	_, port, err := b.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	ear4, at4 := ear(t, "127.0.0.1:0")
	ear6, at6 := ear(t, "[fd00::1]:0")
	to4, err4 := b.ParseEndpoint(at4)
	to6, err6 := b.ParseEndpoint(at6)
	if err4 != nil || err6 != nil {
		t.Fatal(err4, err6)
	}
	t.Logf("from port %d", port)
	for i := range 50 {
		one := []byte(fmt.Sprint("datagram ", i))
		if err := b.Send([][]byte{one}, to4); err != nil {
			t.Fatal(err)
		}
		if err := hears(t, ear4, one); err != nil {
			t.Fatalf("IPv4: %v", err)
		}
		if err := b.Send([][]byte{one}, to6); err != nil {
			return fmt.Errorf("send to IPv6: %w", err)
		}
		if err := hears(t, ear6, one); err != nil {
			return fmt.Errorf("IPv6: %w", err)
		}
	}
	return nil
}

func TestChildBindSendsToBothFamilies(t *testing.T) {
	alone(t)
	if err := alternate(t, newChildBind()); err != nil {
		t.Error(err)
	}
}

// Once this fails, wireguard-go has mended what childBind is for.
func TestChildBindIsNeeded(t *testing.T) {
	alone(t)
	if err := alternate(t, conn.NewDefaultBind()); err == nil {
		t.Error("wireguard-go sends to the right addresses: childBind can go")
	}
}

// alone moves the test into a network namespace whose loopback has a second IPv6 address: to the first, ::1, a packet that
// lost most of its address finds its way. The thread is not given back, and so ends with the test.
func alone(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err == nil {
		err = netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("fd00::1"), Mask: net.CIDRMask(128, 128)}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestChildBindSendsRuns(t *testing.T) {
	b := newChildBind()
	if _, _, err := b.Open(0); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c, at := ear(t, "[::1]:0")
	to, err := b.ParseEndpoint(at)
	if err != nil {
		t.Fatal(err)
	}
	for _, segment := range []bool{true, false} {
		b.segment.Store(segment)
		var all [][]byte
		for i, n := range []int{1400, 1400, 1400, 900, 1400, 60, 60, 1400, 9000, 9000} {
			all = append(all, bytes.Repeat([]byte{byte(i + 1)}, n))
		}
		for range 70 {
			all = append(all, bytes.Repeat([]byte{99}, 300))
		}
		if err := b.Send(all, to); err != nil {
			t.Fatal(err)
		}
		for i, want := range all {
			if err := hears(t, c, want); err != nil {
				t.Fatalf("segment %v, datagram %d: %v", segment, i, err)
			}
		}
	}
}
