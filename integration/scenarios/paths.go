package scenarios

import (
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// cutCable: a cable that is pulled for some seconds and plugged in again carries at once, by the session that it had.
func cutCable(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	ping := all[0].start(false, "ping", v4(1).String(), "-every", "10ms")
	all[0].reaches(v4(1))
	t.ok(e.Net.Links[0].SetUp(false))
	pause(t, 8*time.Second)
	t.ok(e.Net.Links[0].SetUp(true))
	plugged := time.Now()
	all[0].reaches(v4(1))
	var r lab.PingReport
	ping.stop(&r)
	t.Logf("%s", r)
	after, ok := r.FirstAnswerAfter(plugged)
	if !ok {
		t.Fatalf("nothing comes through any more: %s", r)
	}
	// A second of it may be the hosts' own search for each other's hardware address.
	t.atMost("from the cable's return to the first answer", after, 1500*time.Millisecond)
}

// ipv6Underlay: hosts that have nothing but IPv6 between them.
func ipv6Underlay(t *T, e *Env) {
	for _, site := range e.Sites {
		_, err := lab.Must(t.Context(), site, "ip", "-4", "addr", "flush", "dev", "eth0")
		t.ok(err)
	}
	m := newMesh(t, e, 2, func(i int, s *lab.NodeSpec) {
		if i > 0 {
			s.Peers = []string{"[" + e.Sites[0].Addr6.String() + "]:6783"}
		}
	})
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	all[1].reaches(v6(0))
	p := t.peer(m.nodes[0], m.nodes[1])
	t.Logf("endpoint %s, MTU %d", p.Path.Endpoint, p.Path.MTU)
	if want := netip.AddrPortFrom(e.Sites[1].Addr6, 6783).String(); p.Path.Endpoint != want || p.Path.MTU != 1420 {
		t.Errorf("endpoint %s, MTU %d; want %s, 1420", p.Path.Endpoint, p.Path.MTU, want)
	}
}

// behindNAT: two nodes behind NAT routers of their own reach a third, and, by what it observes of them, each other.
func behindNAT(t *T, e *Env) {
	l := e.Net.Lab
	for i, name := range []string{"", "left", "right"} {
		if i == 0 {
			continue
		}
		home, err := l.Switch(name)
		t.ok(err)
		router, err := l.Router(name + "-router")
		t.ok(err)
		outside := netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)})
		_, err = l.Link(router, e.Net.Switch, []netip.Prefix{netip.PrefixFrom(outside, 24)})
		t.ok(err)
		gateway := netip.AddrFrom4([4]byte{192, 168, byte(i), 1})
		_, err = l.Link(router, home, []netip.Prefix{netip.PrefixFrom(gateway, 24)})
		t.ok(err)
		_, err = lab.Must(t.Context(), router, "nft", `
			add table ip nat
			add chain ip nat post { type nat hook postrouting priority 100; }
			add rule ip nat post oifname "eth0" masquerade
			add table ip closed
			add chain ip closed through { type filter hook forward priority 0; }
			add rule ip closed through iifname "eth0" ct state new drop
			add chain ip closed to { type filter hook input priority 0; }
			add rule ip closed to iifname "eth0" ct state new drop`)
		t.ok(err)

		// The host moves from the public switch to its home.
		host := e.Net.Links[i].Host
		t.ok(e.Net.Links[i].SetUp(false))
		_, err = lab.Must(t.Context(), host, "ip", "link", "del", "eth0")
		t.ok(err)
		_, err = l.Link(host, home, []netip.Prefix{netip.PrefixFrom(gateway.Next(), 24)})
		t.ok(err)
		t.ok(host.AddRoute(netip.MustParsePrefix("0.0.0.0/0"), gateway))
	}
	m := newMesh(t, e, 3)
	m.start()
	all := m.pluggedAll()
	all[1].reaches(v4(0))
	all[2].reaches(v4(0))
	if nat := t.status(m.nodes[1]).Node.NAT; nat != "mapped" {
		t.Errorf("NAT of a node behind one: %q", nat)
	}
	m.linked()
	all[1].reaches(v4(2))
	p := t.peer(m.nodes[1], m.nodes[2])
	t.Logf("from home to home: %s at %s", p.Path.Kind, p.Path.Endpoint)
	if r := all[1].ping(v4(2), "-count", "50", "-every", "10ms"); r.Lost() > 0 {
		t.Errorf("%s", r)
	}
}

// oneHost: two nodes on one host, in one namespace, keep apart by their ports and folders.
func oneHost(t *T, e *Env) {
	twin := &Site{
		Machine: lab.Inside(e.Sites[0], "twin"), Addr4: e.Sites[0].Addr4, Addr6: e.Sites[0].Addr6, Dir: e.Sites[0].Dir + "-twin",
	}
	both := &Env{Binary: e.Binary, Probe: e.Probe, Sites: []*Site{e.Sites[0], twin}, Net: e.Net}
	m := newMesh(t, both, 2, func(i int, s *lab.NodeSpec) {
		if i == 1 {
			s.Port = 7783
			s.More = "api: {metrics: \"127.0.0.1:7782\"}\n"
		}
	})
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	if r := all[0].ping(v4(1), "-count", "50", "-every", "10ms"); r.Lost() > 0 {
		t.Errorf("%s", r)
	}
}
