package rawudp

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// TestBesideWireGuard: a tunnel of wireguard-go carries packets while questions and answers share its ports.
func TestBesideWireGuard(t *testing.T) {
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			a, b := pair(t)
			ka, err := wgtypes.GeneratePrivateKey()
			must(t, err)
			kb, err := wgtypes.GeneratePrivateKey()
			must(t, err)
			ia, ib := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
			ta := a.wireGuard(ka, kb.PublicKey(), ib, b.at(family, testPort))
			tb := b.wireGuard(kb, ka.PublicKey(), ia, a.at(family, testPort))
			sa, sb := a.open(), b.open()
			for i := range 200 {
				through(t, ta, tb, ia, ib)
				question := fmt.Sprintf("wvwg question %d", i)
				must(t, sa.Send(netip.AddrPortFrom(netip.Addr{}, testPort), b.at(family, testPort), []byte(question)))
				got := next(t, sb)
				if got.payload != question || got.from != a.at(family, testPort) {
					t.Fatalf("%+v", got)
				}
				must(t, sb.Send(got.at, got.from, []byte("wvwg answer")))
				if got := next(t, sa); got.payload != "wvwg answer" || got.from != b.at(family, testPort) {
					t.Fatalf("%+v", got)
				}
				through(t, tb, ta, ib, ia)
			}
		})
	}
}

// through sends one packet into a tunnel and waits for it at the other end.
func through(t *testing.T, from, to *tuntest.ChannelTUN, source, dest netip.Addr) {
	t.Helper()
	packet := tuntest.Ping(dest, source)
	from.Outbound <- packet
	select {
	case got := <-to.Inbound:
		if string(got) != string(packet) {
			t.Fatal("the tunnel changed a packet")
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("the tunnel lost a packet from %s", source)
	}
}

// wireGuard runs a device with one peer; its packets are those of the channels.
func (h *host) wireGuard(key, peer wgtypes.Key, allowed netip.Addr, endpoint netip.AddrPort) *tuntest.ChannelTUN {
	h.t.Helper()
	packets := tuntest.NewChannelTUN()
	dev := device.NewDevice(packets.TUN(), inside{conn.NewStdNetBind(), h.ns}, device.NewLogger(device.LogLevelError, h.t.Name()+" "))
	h.t.Cleanup(dev.Close)
	must(h.t, dev.IpcSet(fmt.Sprintf("private_key=%s\nlisten_port=%d\npublic_key=%s\nendpoint=%s\nallowed_ip=%s/32\n",
		hex.EncodeToString(key[:]), testPort, hex.EncodeToString(peer[:]), endpoint, allowed)))
	must(h.t, dev.Up())
	return packets
}

// inside opens WireGuard's sockets in a namespace, whichever goroutine of the device asks for it.
type inside struct {
	conn.Bind
	ns *os.File
}

func (b inside) Open(port uint16) (fns []conn.ReceiveFunc, actual uint16, err error) {
	err = netns.Do(b.ns, func() (err error) {
		fns, actual, err = b.Bind.Open(port)
		return err
	})
	return fns, actual, err
}
