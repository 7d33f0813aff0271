package scenarios

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// contacts: connect and forget change whom a node dials, at once and for good; what the YAML names stays.
func contacts(t *T, e *Env) {
	m := newMesh(t, e, 2, func(_ int, s *lab.NodeSpec) { s.Peers = nil })
	m.start()
	a, b := m.nodes[0], m.nodes[1]
	address := e.Sites[0].Addr4.String()
	start := time.Now()
	_, err := b.Must(t.Context(), "connect", address)
	t.ok(err)
	m.linked()
	t.atMost("from connect to a link", time.Since(start), 3*time.Second)

	// It is remembered.
	t.ok(b.Terminate(t.within(10 * time.Second)))
	t.ok(b.Up(t.within(20 * time.Second)))
	if !dials(t, b, address) {
		t.Errorf("%s does not dial %s after a restart: %+v", b.Name(), address, t.status(b).Targets)
	}
	m.linked()

	_, err = b.Must(t.Context(), "forget", address)
	t.ok(err)
	if dials(t, b, address) {
		t.Errorf("%s still dials %s", b.Name(), address)
	}

	// A node that has left can be dropped by its name.
	_, err = a.Must(t.Context(), "down")
	t.ok(err)
	t.eventually(20*time.Second, func(ctx context.Context) error {
		r, err := b.Command(ctx, "forget", a.Name())
		if err == nil {
			err = r.OK()
		}
		return err
	})
	t.eventually(5*time.Second, func(context.Context) error {
		if s := t.status(b); len(s.Peers) > 0 {
			return fmt.Errorf("%s still lists %+v", b.Name(), s.Peers)
		}
		return nil
	})

	// What the YAML names is not forgotten but by editing it.
	b.Spec.Peers = []string{address}
	t.ok(b.WriteConfig(t.Context()))
	_, err = b.Must(t.Context(), "config", "reload")
	t.ok(err)
	r, err := b.Command(t.Context(), "forget", address)
	t.ok(err)
	t.Logf("forget of a peer in the YAML: exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
	if r.Exit == 0 || !strings.Contains(r.Stderr, "weavewg.yaml") {
		t.Errorf("forget of a peer in the YAML: %+v", r)
	}
}

func dials(t *T, n *lab.Node, address string) bool {
	t.Helper()
	for _, target := range t.status(n).Targets {
		if strings.HasPrefix(target.Address, address) {
			return true
		}
	}
	return false
}
