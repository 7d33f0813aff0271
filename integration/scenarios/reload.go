package scenarios

import (
	"net/netip"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// reload: a changed configuration is applied whole, without losing a packet, or refused whole with the place named.
func reload(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	ping := all[0].start(false, "ping", v4(1).String(), "-every", t.pace(10*time.Millisecond))

	for _, n := range m.nodes {
		n.Spec.More = "networks: [{name: default}, {name: second}]\n"
		t.ok(n.WriteConfig(t.Context()))
		_, err := n.Must(t.Context(), "config", "reload")
		t.ok(err)
	}
	if s := t.status(m.nodes[0]); len(s.Networks) != 2 {
		t.Errorf("networks after the reload: %+v", s.Networks)
	}
	c := m.plugged(m.nodes[0], "10.40.0.1/24", "--network", "second")
	m.plugged(m.nodes[1], "10.40.0.2/24", "--network", "second")
	c.reaches(netip.MustParseAddr("10.40.0.2"))

	a := m.nodes[0]
	good := a.Spec.More
	for _, bad := range []string{"networks: [{name: default}, {name: third}]\nlog: {level: lout}\n", "listne: {port: 1}\n"} {
		a.Spec.More = bad
		t.ok(a.WriteConfig(t.Context()))
		r, err := a.Command(t.Context(), "config", "reload")
		t.ok(err)
		t.Logf("reload of a bad file: exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
		if r.Exit == 0 || !strings.Contains(r.Stderr, "weavewg.yaml:") {
			t.Errorf("reload of a bad file: %+v", r)
		}
		a.Spec.More = good
		t.ok(a.WriteConfig(t.Context())) // commands read it to find the daemon
		for _, n := range t.status(a).Networks {
			if n.Name == "third" {
				t.Error("a refused reload was applied in part")
			}
		}
	}

	var r lab.PingReport
	ping.stop(&r)
	t.Logf("across the reloads: %s", r)
	if r.Lost() > 0 {
		t.Errorf("%d pings were lost across the reloads", r.Lost())
	}
}
