package scenarios

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// down: takes the whole data plane away: processes, namespaces, sockets, the interface in the container. SIGTERM alone
// leaves it standing. --purge takes the node's identity, too.
func down(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	a := m.nodes[0]
	id := t.status(a).Node.ID

	t.ok(a.Terminate(t.within(10 * time.Second)))
	if keeper := m.keeper(a); keeper == 0 {
		t.Error("the keeper ended with the daemon")
	}
	t.ok(a.Up(t.within(20 * time.Second)))
	all[1].reaches(v4(0))

	for _, n := range m.nodes {
		_, err := n.Must(t.Context(), "down")
		t.ok(err)
		t.ok(m.gone(t.within(5*time.Second), n))
	}
	for _, c := range all { // the kernel takes namespaces apart behind our back
		t.eventually(5*time.Second, func(context.Context) error {
			if links := c.devices(); len(links) != 1 {
				return fmt.Errorf("%s's container keeps %v", c.node.Name(), links)
			}
			return nil
		})
	}
	if r, err := a.Command(t.Context(), "status"); err != nil || r.Exit != 3 {
		t.Errorf("status after down: %+v %v, want exit 3", r, err)
	}

	t.ok(a.Up(t.within(20 * time.Second)))
	if now := t.status(a).Node.ID; now != id {
		t.Errorf("after down and up the node is %s, was %s", now, id)
	}
	_, err := a.Must(t.Context(), "down", "--purge")
	t.ok(err)
	left, err := lab.Must(t.Context(), a.Machine, "sh", "-c", "ls -A "+a.StateDir()+" "+a.RunDir()+" 2>/dev/null || true")
	t.ok(err)
	if strings.Contains(left, "identity") {
		t.Errorf("down --purge leaves %s", left)
	}
	t.Logf("after down --purge: %q", left)
}
