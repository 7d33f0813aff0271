package datapath

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/learner"
)

// wireguard-go sends a UDP checksum that comes out as zero as zero, which a receiver over IPv6 drops unless told not to.
func TestADatagramWithoutChecksumIsTaken(t *testing.T) {
	hosts := newHosts(t, 2)
	got := reading(hosts[0].raw(), func(b []byte) bool { return len(b) > 12 && b[6] == 2 && b[7] == 0x77 })
	frame := ethernet(learner.Broadcast, learner.MAC{2, 0x77, 0, 0, 0, 1}, 60)
	ok(t, netns.Do(hosts[1].overlay, func() error {
		c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(hosts[1].address, 0)),
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(hosts[0].address, l2bridge.VXLANPort)))
		if err != nil {
			return err
		}
		defer c.Close()
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_NO_CHECK6_TX, 1) })
		if err == nil && failed == nil {
			_, err = c.Write(vxlan(testVNI, frame))
		}
		ok(t, failed)
		return err
	}))
	select {
	case b := <-got:
		if string(b) != string(frame) {
			t.Errorf("injected: %x", b)
		}
	case <-time.After(5 * time.Second):
		t.Error("the frame was not injected")
	}
}
