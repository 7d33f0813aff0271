package scenarios

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// wrongSecret: who has another secret is told that something is wrong, and no more; the other side, which may know,
// sees strangers.
func wrongSecret(t *T, e *Env) {
	m := newMesh(t, e, 2, func(i int, s *lab.NodeSpec) {
		if i == 1 {
			s.Secret = "another-secret-0123456789abcdef-another-secret"
		}
	})
	m.start()
	a, b := m.nodes[0], m.nodes[1]
	t.says(b, 10*time.Second, e.Sites[0].Addr4.String()+":6783 closed without an answer: other mesh name or secret?")
	t.says(a, 30*time.Second, "strangers: ")
	t.says(a, 5*time.Second, "connections from "+e.Sites[1].Addr4.String()+" without our knock")
	for _, n := range m.nodes {
		if s := t.status(n); len(s.Peers) > 0 {
			t.Errorf("%s knows %+v", n.Name(), s.Peers)
		}
	}
}

// severalSecrets: a secret file with two lines accepts both, so that a secret is changed without a cut.
func severalSecrets(t *T, e *Env) {
	const next = "the-next-secret-fedcba9876543210-the-next-secret"
	m := newMesh(t, e, 2, func(i int, s *lab.NodeSpec) {
		if i == 0 {
			s.Secret = next + "\n" + meshSecret
		}
	})
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
}

// secrecy: the secret and the private keys are in no argument, no environment, no output and no log.
func secrecy(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	a := m.nodes[0]
	var printed strings.Builder
	for _, argv := range [][]string{
		{"status"}, {"status", "--json"}, {"peers", "--json"}, {"keys", "show"}, {"keys", "show", "--json"},
		{"macs", "--json"}, {"ps", "--json"}, {"report"}, {"doctor"}, {"config", "show"},
	} {
		r, err := a.Command(t.Context(), argv...)
		t.ok(err)
		if r.Exit != 0 {
			t.Errorf("%s: %v", strings.Join(argv, " "), r.OK())
		}
		printed.WriteString(r.Stdout + r.Stderr)
	}
	printed.WriteString(a.Daemon().Output().Stdout + a.Daemon().Output().Stderr)
	private := m.privateKeys(a)
	t.Logf("looking for the secret and %d private keys in %d kB of output", len(private), printed.Len()>>10)
	for _, secret := range append(private, meshSecret) {
		if strings.Contains(printed.String(), secret) {
			t.Errorf("a secret is printed: %.6s…", secret)
		}
		out, err := lab.Must(t.Context(), a.Machine, e.Probe, "search", secret, a.RunDir(), a.StateDir())
		t.ok(err)
		var found []string
		t.ok(json.Unmarshal([]byte(out), &found))
		for _, place := range found {
			t.Errorf("%.6s… is in %s", secret, place)
		}
	}
}

// privateKeys reads those of a node's WireGuard devices, as root can.
func (m *mesh) privateKeys(n *lab.Node) []string {
	m.t.Helper()
	overlay := m.overlay(n)
	var keys []string
	for name := range overlay.devices() {
		if strings.HasPrefix(name, "wg-") {
			keys = append(keys, strings.TrimSpace(overlay.run("wg", "show", name, "private-key")))
		}
	}
	if len(keys) == 0 || len(keys[0]) != 44 {
		m.t.Fatalf("no private key to look for: %d", len(keys))
	}
	return keys
}
