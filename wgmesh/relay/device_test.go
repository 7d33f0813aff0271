package relay

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun/tuntest"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// network joins the sockets of WireGuard devices by relays alone.
type network struct {
	t      *testing.T
	mu     sync.Mutex
	relays map[netip.AddrPort]*Table
	ends   map[netip.AddrPort]*socket
	kinds  [5]int // messages forwarded, by type
	drops  map[Verdict]int
}

// carry takes a datagram along.
func (n *network) carry(from, to netip.AddrPort, p []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range 16 {
		if e := n.ends[to]; e != nil {
			select {
			case e.in <- datagram{from, bytes.Clone(p)}:
			default: // a full queue loses it
			}
			return
		}
		table := n.relays[to]
		if table == nil {
			return
		}
		next, why := table.Packet(time.Now(), from, p)
		if why != Forwarded {
			n.drops[why]++
			return
		}
		n.kinds[p[0]]++
		from, to = to, next
	}
}

type datagram struct {
	from netip.AddrPort
	p    []byte
}

// socket is the conn.Bind of one device.
type socket struct {
	network *network
	addr    netip.AddrPort
	in      chan datagram
	mu      sync.Mutex
	closed  chan struct{}
}

func (s *socket) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	closed := make(chan struct{})
	s.closed = closed
	return []conn.ReceiveFunc{func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case <-closed:
			return 0, net.ErrClosed
		case d := <-s.in:
			sizes[0], eps[0] = copy(packets[0], d.p), endpoint(d.from)
			return 1, nil
		}
	}}, s.addr.Port(), nil
}

func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		close(s.closed)
		s.closed = nil
	}
	return nil
}

func (s *socket) Send(bufs [][]byte, ep conn.Endpoint) error {
	for _, p := range bufs {
		s.network.carry(s.addr, netip.AddrPort(ep.(endpoint)), p)
	}
	return nil
}

func (s *socket) SetMark(uint32) error { return nil }
func (s *socket) BatchSize() int       { return 1 }

func (s *socket) ParseEndpoint(text string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(text)
	return endpoint(a), err
}

type endpoint netip.AddrPort

func (e endpoint) ClearSrc()           {}
func (e endpoint) SrcToString() string { return "" }
func (e endpoint) DstToString() string { return netip.AddrPort(e).String() }
func (e endpoint) DstToBytes() []byte  { b, _ := netip.AddrPort(e).MarshalBinary(); return b }
func (e endpoint) DstIP() netip.Addr   { return netip.AddrPort(e).Addr() }
func (e endpoint) SrcIP() netip.Addr   { return netip.Addr{} }

// host is a device of wireguard-go.
type host struct {
	key    wgtypes.Key
	ip     netip.Addr
	socket *socket
	tun    *tuntest.ChannelTUN
	device *device.Device
}

func (n *network) host(addr netip.AddrPort, ip string) *host {
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		n.t.Fatal(err)
	}
	h := &host{key: key, ip: netip.MustParseAddr(ip), tun: tuntest.NewChannelTUN()}
	h.socket = &socket{network: n, addr: addr, in: make(chan datagram, 1024)}
	n.ends[addr] = h.socket
	h.device = device.NewDevice(h.tun.TUN(), h.socket, device.NewLogger(device.LogLevelError, addr.String()+": "))
	n.t.Cleanup(h.device.Close)
	return h
}

func (h *host) configure(t *testing.T, peer *host, via netip.AddrPort) {
	t.Helper()
	public := peer.key.PublicKey()
	text := fmt.Sprintf("private_key=%s\npublic_key=%s\nallowed_ip=%s/32\nendpoint=%s\n",
		hex.EncodeToString(h.key[:]), hex.EncodeToString(public[:]), peer.ip, via)
	if err := h.device.IpcSet(text); err != nil {
		t.Fatal(err)
	}
	if err := h.device.Up(); err != nil {
		t.Fatal(err)
	}
}

// ping sends a packet through the tunnel and waits until it comes out.
func ping(t *testing.T, from, to *host) {
	t.Helper()
	p := tuntest.Ping(to.ip, from.ip)
	from.tun.Outbound <- p
	select {
	case got := <-to.tun.Inbound:
		if !bytes.Equal(got, p) {
			t.Fatalf("got %x, want %x", got, p)
		}
	case <-time.After(10 * time.Second):
		n := from.socket.network
		n.mu.Lock()
		defer n.mu.Unlock()
		t.Fatalf("no packet from %s to %s: forwarded %v, dropped %v", from.ip, to.ip, n.kinds, n.drops)
	}
}

// Two devices of wireguard-go that reach each other through two relays only, and a third behind the same relay.
func TestWireGuardThroughTwoRelays(t *testing.T) {
	r1, r2 := netip.MustParseAddrPort("192.0.2.11:6786"), netip.MustParseAddrPort("[2001:db8::12]:6786")
	n := &network{
		t: t, drops: map[Verdict]int{}, ends: map[netip.AddrPort]*socket{},
		relays: map[netip.AddrPort]*Table{r1: NewTable(Limits{}), r2: NewTable(Limits{})},
	}
	a, b, c := n.host(alpha, "10.0.0.1"), n.host(beta, "10.0.0.2"), n.host(stray, "10.0.0.3")
	connect := func(number byte, x, y *host) {
		now := time.Now()
		one, two := pair(number, x.key.PublicKey(), y.key.PublicKey()), pair(number, x.key.PublicKey(), y.key.PublicKey())
		one.Expires, two.Expires = now.Add(time.Hour), now.Add(time.Hour)
		one.Legs[1].Addr, two.Legs[0].Addr = r2, r1
		for table, binding := range map[*Table]Binding{n.relays[r1]: one, n.relays[r2]: two} {
			if err := table.Bind(now, binding); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range []struct {
			table *Table
			leg   int
			end   *host
		}{{n.relays[r1], 0, x}, {n.relays[r2], 1, y}} {
			prove(s.table, now, ID{number}, s.leg, s.end.socket.addr)
		}
		prove(n.relays[r1], now, ID{number}, 1, r2)
		prove(n.relays[r2], now, ID{number}, 0, r1)
	}
	connect(1, a, b)
	connect(2, c, b)
	a.configure(t, b, r1)
	b.configure(t, a, r2)
	for range 20 {
		ping(t, a, b)
		ping(t, b, a)
	}

	// c joins through the same relays: what b gets from r2 are two sessions from one address.
	c.configure(t, b, r1)
	public := c.key.PublicKey()
	if err := b.device.IpcSet(fmt.Sprintf("public_key=%s\nallowed_ip=%s/32\nendpoint=%s\n", hex.EncodeToString(public[:]), c.ip, r2)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		ping(t, c, b)
		ping(t, b, c)
		ping(t, b, a)
		ping(t, a, b)
	}

	// a's NAT gives it another port. It proves that, and both directions go on.
	n.mu.Lock()
	moved := netip.AddrPortFrom(alpha.Addr(), 40000)
	delete(n.ends, alpha)
	n.ends[moved], a.socket.addr = a.socket, moved
	prove(n.relays[r1], time.Now(), ID{1}, 0, moved)
	n.mu.Unlock()
	ping(t, b, a)
	ping(t, a, b)

	n.mu.Lock()
	defer n.mu.Unlock()
	if n.kinds[1] < 4 || n.kinds[2] < 4 || n.kinds[4] < 2*122 || len(n.drops) != 0 {
		t.Errorf("forwarded %v, dropped %v", n.kinds, n.drops)
	}
	for addr, table := range n.relays {
		if err := consistent(table); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
		for _, s := range table.Bindings() {
			if s.Flows == 0 {
				t.Errorf("%s: binding %s has no session", addr, s.ID)
			}
		}
	}
}
