package scenarios

import (
	"net/netip"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// expose: the hosts themselves join a network, and leave it again.
func expose(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	c := m.plugged(m.nodes[1], v4(1).String()+"/24")
	a := m.nodes[0]
	_, err := a.Must(t.Context(), "expose", "10.32.0.101/24")
	t.ok(err)
	host := netip.MustParseAddr("10.32.0.101")
	c.reaches(host)
	_, err = m.nodes[1].Must(t.Context(), "expose", "10.32.0.102/24")
	t.ok(err)
	r, err := a.Run(t.Context(), e.Probe, "ping", "10.32.0.102", "-stop", "1", "-every", t.pace(50*time.Millisecond), "-count", "200")
	t.ok(err)
	t.ok(r.OK())
	t.Logf("from host to host: %s", strings.TrimSpace(r.Stdout))
	if ports, err := a.Must(t.Context(), "ps"); err != nil || !strings.Contains(ports, "10.32.0.101") {
		t.Errorf("ps does not list the host's port: %s %v", ports, err)
	}
	_, err = a.Must(t.Context(), "hide", "10.32.0.101/24")
	t.ok(err)
	if r := c.ping(host, "-count", "10", "-every", t.pace(20*time.Millisecond)); r.Lost() != r.Sent() {
		t.Errorf("after hide: %s", r)
	}
	links, err := lab.Must(t.Context(), a.Machine, "ip", "-o", "addr")
	t.ok(err)
	if strings.Contains(links, "10.32.0.101") {
		t.Errorf("after hide the host keeps the address: %s", links)
	}
}
