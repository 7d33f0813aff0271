package scenarios

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weavewg/weavewg/integration/lab"
	"github.com/weavewg/weavewg/services/api"
)

// meshSecret is the secret of every node that is not told another one; secrecy looks for it.
const meshSecret = "0123456789abcdef-secret-of-the-lab-fedcba9876543210"

// mesh is the nodes of a scenario, on the first sites of its environment.
type mesh struct {
	t     *T
	env   *Env
	nodes []*lab.Node
}

// meshOption changes the spec of node i.
type meshOption func(i int, s *lab.NodeSpec)

// newMesh writes the files of n nodes; nothing runs yet. All but the first know the first.
func newMesh(t *T, e *Env, n int, opts ...meshOption) *mesh {
	t.Helper()
	m := &mesh{t: t, env: e}
	for i, site := range e.Sites[:n] {
		spec := lab.NodeSpec{Secret: meshSecret, Binary: e.Binary, Dir: site.Dir}
		if i > 0 {
			spec.Peers = []string{e.Sites[0].Addr4.String()}
		}
		for _, o := range opts {
			o(i, &spec)
		}
		node, err := lab.NewNode(t.Context(), site, spec)
		t.ok(err)
		m.nodes = append(m.nodes, node)
	}
	t.Cleanup(m.cleanUp)
	return m
}

// withYAML adds to the configuration of every node.
func withYAML(yaml string) meshOption {
	return func(_ int, s *lab.NodeSpec) { s.More += yaml }
}

// cleanUp takes the nodes down; of a test that failed it first prints what they say.
func (m *mesh) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second*time.Duration(m.t.slow))
	defer cancel()
	if m.t.Failed() { // all of it before any of them leaves
		for _, n := range m.nodes {
			m.t.Log(n.Report(ctx))
		}
	}
	for _, n := range m.nodes {
		_, _ = n.Command(ctx, "down") // nothing runs there any more, after some scenarios
	}
}

// up starts all nodes at once and waits until each is ready and linked to every other.
func (m *mesh) up() {
	m.t.Helper()
	m.start()
	m.linked()
}

// start starts all nodes at once and waits until each is ready.
func (m *mesh) start() {
	m.t.Helper()
	m.each(func(n *lab.Node) error { return n.Up(m.t.within(20 * time.Second)) })
}

// linked waits until every node has a link to every other.
func (m *mesh) linked() {
	m.t.Helper()
	start := time.Now()
	m.each(func(n *lab.Node) error {
		for _, peer := range m.nodes {
			if peer == n {
				continue
			}
			if err := n.WaitFor(m.t.within(20*time.Second), "peer="+peer.Name()); err != nil {
				return fmt.Errorf("%s: link to %s: %w", n.Name(), peer.Name(), err)
			}
		}
		return nil
	})
	m.t.Logf("%d nodes linked after %v", len(m.nodes), time.Since(start).Round(time.Millisecond))
}

// each calls f for all nodes at once.
func (m *mesh) each(f func(*lab.Node) error) {
	m.t.Helper()
	var all errgroup.Group
	for _, n := range m.nodes {
		all.Go(func() error { return f(n) })
	}
	m.t.ok(all.Wait())
}

// status asks a node.
func (t *T) status(n *lab.Node) api.Status {
	t.Helper()
	var s api.Status
	t.ok(n.JSON(t.Context(), &s, "status"))
	return s
}

// peer is what a node says about another.
func (t *T) peer(n, other *lab.Node) api.Peer {
	t.Helper()
	s := t.status(n)
	for _, p := range s.Peers {
		if p.Name == other.Name() {
			return p
		}
	}
	t.Fatalf("%s knows no %s: %+v", n.Name(), other.Name(), s.Peers)
	return api.Peer{}
}

// said is everything that a node says to people: its log, its status with problems.
func said(ctx context.Context, n *lab.Node) string {
	var b strings.Builder
	if p := n.Daemon(); p != nil {
		r := p.Output()
		b.WriteString(r.Stdout + r.Stderr)
	}
	if r, err := n.Command(ctx, "status"); err == nil {
		b.WriteString(r.Stdout)
	}
	if r, err := n.Command(ctx, "status", "--json"); err == nil {
		b.WriteString(r.Stdout)
	}
	return b.String()
}

// says waits until a node says a text to people.
func (t *T) says(n *lab.Node, d time.Duration, text string) {
	t.Helper()
	start := time.Now()
	t.eventually(d, func(ctx context.Context) error {
		if s := said(ctx, n); !strings.Contains(s, text) {
			return fmt.Errorf("%s does not say %q", n.Name(), text)
		}
		return nil
	})
	t.Logf("%s says %q after %v", n.Name(), text, time.Since(start).Round(time.Millisecond))
}
