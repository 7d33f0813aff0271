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

// badFiles: what a node cannot use of its files it names, in one line, and leaves as it is; nothing is started.
func badFiles(t *T, e *Env) {
	m := newMesh(t, e, 1)
	n := m.nodes[0]
	m.start() // makes identity and state
	_, err := n.Must(t.Context(), "down")
	t.ok(err)
	shell := func(script string) string {
		t.Helper()
		out, err := lab.Must(t.Context(), n.Machine, "sh", "-ec", "cd "+n.Spec.Dir+" && "+script)
		t.ok(err)
		return out
	}
	sums := "sha256sum secret weavewg.yaml state/* 2>/dev/null | grep -v lock"
	secret := path.Join(n.Spec.Dir, "secret")
	for _, c := range []struct {
		name, spoil, mend string
		code              int
		want              []string
	}{
		{"no secret", "mv secret away", "mv away secret", 1,
			[]string{"secret_file " + secret + " not found; make one: weavewg secret generate -o " + secret}},
		{"secret for all to read", "chmod 644 secret", "chmod 600 secret", 1, []string{secret, "0600"}},
		{"empty secret", "cp -p secret away; : >secret", "cp -p away secret; rm away", 1, []string{secret}},
		{"identity for all to read", "chmod 644 state/identity.key", "chmod 600 state/identity.key", 1, []string{"identity.key", "0600"}},
		{"identity cut off", "cp -p state/identity.key away; truncate -s 20 state/identity.key", "cp -p away state/identity.key; rm away", 1,
			[]string{"identity.key"}},
		{"state cut off", "cp -p state/state.json away; truncate -s 20 state/state.json", "cp -p away state/state.json; rm away", 1,
			[]string{"state.json"}},
		{"unknown key", "cp -p weavewg.yaml away; echo 'listne: 1' >>weavewg.yaml", "mv away weavewg.yaml", 1,
			[]string{"weavewg.yaml:6:1: unknown key \"listne\" (did you mean \"listen\"?)"}},
	} {
		shell(c.spoil)
		before := shell(sums)
		r, err := n.Run(t.within(20*time.Second), e.Binary, "up", "-c", n.ConfigPath())
		t.ok(err)
		said := strings.TrimSpace(r.Stderr)
		t.Logf("%s: exit %d: %s", c.name, r.Exit, said)
		if r.Exit != c.code || strings.Contains(said, "\n") {
			t.Errorf("%s: exit %d, want %d and one line", c.name, r.Exit, c.code)
		}
		for _, want := range c.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q is not in: %s", c.name, want, said)
			}
		}
		if after := shell(sums); after != before {
			t.Errorf("%s: files changed:\n%s\n%s", c.name, before, after)
		}
		t.ok(m.gone(t.within(5*time.Second), n))
		shell(c.mend)
	}
	m.start()
}
