package scenarios

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// portTaken: says which port is taken by whom, and what to set.
func portTaken(t *T, e *Env) {
	m := newMesh(t, e, 1)
	n := m.nodes[0]
	for _, proto := range []string{"tcp", "udp"} {
		squatter, err := n.Start(t.Context(), e.Probe, "squat", proto, "6783")
		t.ok(err)
		t.ok(firstLine(t.within(5*time.Second), squatter))
		r, err := n.Run(t.within(20*time.Second), e.Binary, "up", "-c", n.ConfigPath())
		t.ok(err)
		t.Logf("exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
		want := fmt.Sprintf("port 6783/%s is taken by probe (pid %d): set listen.port", proto, squatter.PID())
		if r.Exit != 1 || !strings.Contains(r.Stderr, want) {
			t.Errorf("exit %d, want 1 and %q in: %s", r.Exit, want, r.Stderr)
		}
		t.ok(m.gone(t.within(5*time.Second), n)) // nothing half done
		t.ok(squatter.Signal(9))
		_, err = squatter.Wait(t.within(5 * time.Second))
		t.ok(err)
	}
	m.start()
}

// notRoot: says in one line that root is needed, and exits with 5.
func notRoot(t *T, e *Env) {
	m := newMesh(t, e, 1)
	n := m.nodes[0]
	// Readable by anybody, so that it is not the files that stop it.
	_, err := lab.Must(t.Context(), n.Machine, "sh", "-c", "chmod -R a+rwX "+n.Spec.Dir+" && chmod a+x "+path.Dir(n.Spec.Dir))
	t.ok(err)
	r, err := n.Run(t.within(10*time.Second), "setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
		e.Binary, "up", "-c", n.ConfigPath())
	t.ok(err)
	t.Logf("exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
	if r.Exit != 5 || !strings.Contains(r.Stderr, "root") || strings.Count(strings.TrimSpace(r.Stderr), "\n") > 0 {
		t.Errorf("exit %d, want 5 and one line that names root: %s", r.Exit, r.Stderr)
	}
	t.ok(m.gone(t.within(5*time.Second), n))
}
