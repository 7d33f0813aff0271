package rawudp

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// TestBesideTheOwner: questions and answers pass between ports that others own. The owners get them too, which proves the
// checksums, and nothing else of what they get is lost or changed.
func TestBesideTheOwner(t *testing.T) {
	a, b := pair(t)
	sa, sb := a.open(), b.open()
	oa, ob := a.owner(testPort), b.owner(testPort+2)
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			here, there := a.at(family, testPort), b.at(family, testPort+2)
			random := rand.New(rand.NewPCG(1, 2))
			for range 300 {
				body := make([]byte, random.IntN(1400))
				for i := range body {
					body[i] = byte(random.Uint32())
				}
				question := "wvwg" + string(body)
				must(t, sa.Send(netip.AddrPortFrom(netip.Addr{}, testPort), there, []byte(question)))
				if got := next(t, sb); got.payload != question || got.at != there || got.from != here {
					t.Fatalf("%d bytes at %v from %v, want %d at %v from %v", len(got.payload), got.at, got.from, len(question), there, here)
				}
				expect(t, ob, here, question)
				must(t, sb.Send(there, here, []byte("wvwganswer")))
				if got := next(t, sa); got.payload != "wvwganswer" || got.at != here || got.from != there {
					t.Fatalf("%+v", got)
				}
				expect(t, oa, there, "wvwganswer")
				data := "\x04\x00\x00\x00" + string(body)
				if _, err := oa.WriteToUDPAddrPort([]byte(data), there); err != nil {
					t.Fatal(err)
				}
				expect(t, ob, here, data)
			}
		})
	}
}

func expect(t *testing.T, c *net.UDPConn, from netip.AddrPort, want string) {
	t.Helper()
	buf := make([]byte, 2000)
	n, sender, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		t.Fatal(err)
	}
	if sender = netip.AddrPortFrom(sender.Addr().Unmap(), sender.Port()); sender != from || string(buf[:n]) != want {
		t.Fatalf("the owner got %d bytes from %v, want %d from %v", n, sender, len(want), from)
	}
}

// TestFilter: other ports and other payloads do not even reach the queue.
func TestFilter(t *testing.T) {
	a, b := pair(t)
	s := b.open()
	sender := a.owner(1000)
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			send := func(port uint16, payload string) {
				t.Helper()
				if _, err := sender.WriteToUDPAddrPort([]byte(payload), b.at(family, port)); err != nil {
					t.Fatal(err)
				}
			}
			for port := uint16(testPort - 2); port < testPort+5; port++ {
				for _, payload := range []string{"", "w", "wvw", "\x01\x00\x00\x00hello", "wvwh", "Wvwg", " wvwg", strings.Repeat("x", 1472-20)} {
					send(port, payload)
				}
				send(port, fmt.Sprintf("wvwg%d", port))
			}
			for port := uint16(testPort); port < testPort+3; port++ {
				if got := next(t, s); got.payload != fmt.Sprintf("wvwg%d", port) || got.at.Port() != port {
					t.Fatalf("%q at %v", got.payload, got.at)
				}
			}
			for fd, take := range map[int]func() (datagram, error){s.v4: s.take4, s.v6: s.take6} {
				if _, err := take(); !errors.Is(err, unix.EAGAIN) {
					t.Errorf("something is in the queue of descriptor %d: %v", fd, err)
				}
			}
		})
	}
}

func TestIPv4Options(t *testing.T) {
	a, b := pair(t)
	s := b.open()
	sender := a.owner(1000)
	raw, err := sender.SyscallConn()
	must(t, err)
	for _, n := range []int{4, 8, 40} {
		var setting error
		must(t, raw.Control(func(fd uintptr) {
			setting = unix.SetsockoptString(int(fd), unix.IPPROTO_IP, unix.IP_OPTIONS, strings.Repeat("\x01", n)) // no operation
		}))
		must(t, setting)
		if _, err := sender.WriteToUDPAddrPort([]byte("wvwg with options"), b.at("IPv4", testPort)); err != nil {
			t.Fatal(err)
		}
		if got := next(t, s); got.payload != "wvwg with options" || got.from != a.at("IPv4", 1000) || got.at != b.at("IPv4", testPort) {
			t.Fatalf("%+v", got)
		}
	}
}

// TestNeverInFragments: what does not fit into the interface's MTU is refused, what fits has DF, and neighbours in a flow cannot
// be joined.
func TestNeverInFragments(t *testing.T) {
	a, b := pair(t)
	sa, sb := a.open(), b.open()
	for family, overhead := range map[string]int{"IPv4": 28, "IPv6": 48} {
		for _, c := range []struct {
			length int
			want   error
		}{{1500 - overhead, nil}, {1501 - overhead, unix.EMSGSIZE}, {9000, unix.EMSGSIZE}, {65527, unix.EMSGSIZE}, {65528, unix.EMSGSIZE}} {
			payload := append([]byte("wvwg"), bytes.Repeat([]byte{7}, c.length-4)...)
			err := sa.Send(a.at(family, testPort), b.at(family, testPort), payload)
			if !errors.Is(err, c.want) {
				t.Errorf("%s, %d bytes: %v, want %v", family, c.length, err, c.want)
			}
			if err == nil && next(t, sb).payload != string(payload) {
				t.Errorf("%s, %d bytes: damaged", family, c.length)
			}
		}
	}
	var fd int
	must(t, netns.Do(b.ns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
		return err
	}))
	defer unix.Close(fd)
	seen := map[byte]bool{}
	for range hopsUsed {
		must(t, sa.Send(a.at("IPv4", testPort), b.at("IPv4", testPort), []byte("wvwg")))
		packet := make([]byte, 100)
		if _, _, err := unix.Recvfrom(fd, packet, 0); err != nil {
			t.Fatal(err)
		}
		if packet[6] != 0x40 || packet[7] != 0 {
			t.Errorf("flags and fragment offset %x, want DF only", packet[6:8])
		}
		seen[packet[8]] = true
	}
	if len(seen) != hopsUsed || seen[64] {
		t.Errorf("hop limits %v: GRO would join them", seen)
	}
}

// TestSourceAddress: without an address routes decide, anew every time; with one it is that one.
func TestSourceAddress(t *testing.T) {
	a, b := pair(t)
	sa, sb := a.open(), b.open()
	second := map[string]netip.Addr{"IPv4": netip.MustParseAddr("10.79.0.1"), "IPv6": netip.MustParseAddr("fd79::1")}
	for _, family := range families {
		addr := second[family]
		other := netip.AddrPortFrom(addr.Next(), testPort)
		if err := sa.Send(netip.AddrPortFrom(addr, testPort), b.at(family, testPort), []byte("wvwg")); err == nil {
			t.Errorf("%s: sent from an address that is not ours", family)
		}
		if err := sa.Send(netip.AddrPortFrom(netip.Addr{}, testPort), other, []byte("wvwg")); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("%s: sent without a route: %v", family, err)
		}
		a.address(addr, addr.BitLen()/4*3)
		b.address(other.Addr(), addr.BitLen()/4*3)
		a.ready(addr)
		b.ready(other.Addr())
		for _, c := range []struct {
			from, want netip.Addr
			to         netip.AddrPort
		}{
			{netip.Addr{}, a.addrs[family], b.at(family, testPort)},
			{netip.Addr{}, addr, other},
			{addr, addr, b.at(family, testPort)},
			{a.addrs[family], a.addrs[family], other},
			{netip.IPv6Unspecified(), a.addrs[family], b.at(family, testPort)},
		} {
			must(t, sa.Send(netip.AddrPortFrom(c.from, testPort), c.to, []byte("wvwg")))
			if got := next(t, sb); got.from != netip.AddrPortFrom(c.want, testPort) || got.at != c.to {
				t.Errorf("%s: from %v to %v came from %v at %v", family, c.from, c.to, got.from, got.at)
			}
		}
	}
	mapped := netip.AddrPortFrom(netip.AddrFrom16(b.addrs["IPv4"].As16()), testPort)
	must(t, sa.Send(a.at("IPv4", testPort), mapped, []byte("wvwgmapped")))
	if got := next(t, sb); got.payload != "wvwgmapped" {
		t.Errorf("%+v", got)
	}
	for _, bad := range [][2]netip.AddrPort{
		{a.at("IPv4", 1), b.at("IPv6", 1)}, {a.at("IPv6", 1), b.at("IPv4", 1)}, {a.at("IPv4", 1), {}},
	} {
		if err := sa.Send(bad[0], bad[1], []byte("wvwg")); !errors.Is(err, unix.EAFNOSUPPORT) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestLinkLocal(t *testing.T) {
	a, b := pair(t)
	sa, sb := a.open(), b.open()
	ours := netip.MustParseAddr("fe80::1")
	theirs := netip.MustParseAddr("fe80::2")
	a.address(ours, 64)
	b.address(theirs, 64)
	a.ready(ours)
	b.ready(theirs)
	link, err := a.links().LinkByName("eth0")
	must(t, err)
	zoned := theirs.WithZone(fmt.Sprint(link.Attrs().Index))
	must(t, sa.Send(netip.AddrPortFrom(ours, testPort), netip.AddrPortFrom(zoned, testPort), []byte("wvwg")))
	got := next(t, sb)
	if got.from.Addr().WithZone("") != ours || got.at.Addr() != theirs || got.from.Addr().Zone() == "" {
		t.Fatalf("%+v", got)
	}
	must(t, sb.Send(got.at, got.from, []byte("wvwgback")))
	if got := next(t, sa); got.payload != "wvwgback" || got.from.Addr() != zoned {
		t.Fatalf("%+v", got)
	}
	if err := sa.Send(netip.AddrPortFrom(ours, testPort), netip.AddrPortFrom(theirs.WithZone("eth0"), testPort), nil); err == nil {
		t.Error("the name of an interface was taken for its index")
	}
}

// TestFirewall: what the host's firewall keeps from WireGuard is not heard here either, in both directions.
func TestFirewall(t *testing.T) {
	a, b := pair(t)
	sa, sb := a.open(), b.open()
	drop := nftables.ChainPolicyDrop
	rules, err := nftables.New(nftables.WithNetNSFd(int(b.ns.Fd())))
	must(t, err)
	table := rules.AddTable(&nftables.Table{Name: "closed", Family: nftables.TableFamilyIPv4})
	rules.AddChain(&nftables.Chain{
		Name: "in", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput,
		Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	must(t, rules.Flush())
	must(t, sa.Send(a.at("IPv4", testPort), b.at("IPv4", testPort), []byte("wvwg4")))
	must(t, sa.Send(a.at("IPv6", testPort), b.at("IPv6", testPort), []byte("wvwg6"))) // the table is about IPv4
	if got := next(t, sb); got.payload != "wvwg6" {
		t.Fatalf("%q came through a closed firewall", got.payload)
	}
	rules.DelTable(table)
	table = rules.AddTable(&nftables.Table{Name: "closed", Family: nftables.TableFamilyIPv4})
	rules.AddChain(&nftables.Chain{
		Name: "out", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookOutput,
		Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	must(t, rules.Flush())
	if err := sb.Send(b.at("IPv4", testPort), a.at("IPv4", testPort), []byte("wvwg")); !errors.Is(err, unix.EPERM) {
		t.Fatalf("sent through a closed firewall: %v", err)
	}
}

func TestHostWithoutIPv6(t *testing.T) {
	a, b := pair(t)
	must(t, netns.Do(a.ns, func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0) }))
	sa, sb := a.open(), b.open()
	if err := sa.Send(netip.AddrPortFrom(netip.Addr{}, testPort), b.at("IPv6", testPort), []byte("wvwg")); err == nil {
		t.Error("sent without IPv6")
	}
	must(t, sa.Send(netip.AddrPortFrom(netip.Addr{}, testPort), b.at("IPv4", testPort), []byte("wvwg")))
	next(t, sb)
	missing := &Socket{v4: -1, v6: -1}
	if err := missing.Send(a.at("IPv4", 1), b.at("IPv4", 1), nil); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Errorf("a family that the kernel lacks: %v", err)
	}
}

func TestClose(t *testing.T) {
	a, b := pair(t)
	s := a.open()
	before := descriptors(t)
	var other *Socket
	must(t, netns.Do(b.ns, func() (err error) { other, err = Open(1, 65535, testMagic); return err }))
	ended := make(chan error)
	for range 3 {
		go func() {
			_, _, _, err := other.Receive(make([]byte, 10))
			ended <- err
		}()
	}
	go func() {
		for {
			if err := other.Send(b.at("IPv4", 1), a.at("IPv4", testPort), []byte("wvwg")); err != nil {
				ended <- err
				return
			}
		}
	}()
	next(t, s)
	must(t, other.Close())
	must(t, other.Close())
	for range 4 {
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	for _, ports := range [][2]uint16{{0, 1}, {2, 1}} {
		if _, err := Open(ports[0], ports[1], testMagic); err == nil {
			t.Errorf("opened for ports %v", ports)
		}
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(all)
}

// TestShortBuffer: what does not fit is cut, the next datagram is whole.
func TestShortBuffer(t *testing.T) {
	a, b := pair(t)
	sa, sb := a.open(), b.open()
	for _, payload := range []string{"wvwg0123456789", "wvwg"} {
		must(t, sa.Send(a.at("IPv4", testPort), b.at("IPv4", testPort), []byte(payload)))
	}
	must(t, waitReadable(sb.v4))
	buf := make([]byte, 8)
	for _, want := range []string{"wvwg0123", "wvwg"} {
		n, _, _, err := sb.Receive(buf)
		if err != nil || string(buf[:n]) != want {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
}

func waitReadable(fd int) error {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int((10 * time.Second).Milliseconds()))
	if err == nil && n == 0 {
		err = os.ErrDeadlineExceeded
	}
	return err
}
