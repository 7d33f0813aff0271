package scenarios

import (
	"strconv"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// outsider: a host on the same cable, without any key, sends VXLAN to a node. Nothing of it arrives in a container,
// also when the host's firewall is flushed.
func outsider(t *T, e *Env) {
	const marker = "frame-of-an-outsider"
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	victim, stranger := e.Sites[0], e.Sites[2]
	vni := strconv.Itoa(int(t.status(m.nodes[0]).Networks[0].VNI))
	ports := []string{"4789", "6783", "6784", "6785", "6786"} // VXLAN's own, and those that a node listens on
	counts := []*task{all[0].start(true, "count", "ethwe", marker), all[1].start(true, "count", "ethwe", marker)}
	each := strconv.Itoa(10_000)
	attack := func() {
		for _, port := range ports {
			out, err := lab.Must(t.Context(), stranger, e.Probe, "inject", victim.Addr4.String()+":"+port, each, vni, marker)
			t.ok(err)
			t.Logf("to UDP %s of %s: %s", port, victim.Name(), out)
		}
	}
	attack()
	_, err := lab.Must(t.Context(), victim, "nft", "flush", "ruleset")
	t.ok(err)
	attack()
	all[1].ping(v4(0), "-count", "10", "-every", t.pace(20*time.Millisecond)) // what was injected has arrived by now, and the mesh still works
	for i, k := range counts {
		var n int
		k.stop(&n)
		t.Logf("delivered on node %d: %d", i, n)
		if n > 0 {
			t.Errorf("%d frames of the outsider were delivered on node %d", n, i)
		}
	}
}
