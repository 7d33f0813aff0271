package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// refuseSelf: a node whose contact is itself says so, stops trying and has no peer.
func refuseSelf(t *T, e *Env) {
	m := newMesh(t, e, 1, func(_ int, s *lab.NodeSpec) { s.Peers = []string{e.Sites[0].Addr4.String()} })
	m.start()
	n := m.nodes[0]
	t.says(n, 10*time.Second, e.Sites[0].Addr4.String()+":6783 is this node itself")
	_, err := n.Must(t.Context(), "connect", e.Sites[0].Addr4.String())
	t.ok(err)
	t.eventually(10*time.Second, func(context.Context) error {
		s := t.status(n)
		if len(s.Targets)+len(s.Peers)+s.Node.ControlSessions > 0 {
			return fmt.Errorf("targets %+v, peers %+v, %d sessions", s.Targets, s.Peers, s.Node.ControlSessions)
		}
		return nil
	})
}

// refuseMesh: a node of a mesh of another name, with the same secret, is a stranger; each side says what it may know.
func refuseMesh(t *T, e *Env) {
	m := newMesh(t, e, 2, func(i int, s *lab.NodeSpec) {
		if i == 1 {
			s.Mesh = "work"
		}
	})
	m.start()
	a, b := m.nodes[0], m.nodes[1]
	t.says(b, 10*time.Second, e.Sites[0].Addr4.String()+":6783 closed without an answer: other mesh name or secret?")
	t.says(a, 30*time.Second, "connections from "+e.Sites[1].Addr4.String()+" without our knock")
	for _, n := range m.nodes {
		if s := t.status(n); len(s.Peers) > 0 {
			t.Errorf("%s knows %+v", n.Name(), s.Peers)
		}
	}
}

// refuseClone: a host that was copied, state and all, says so, and so does the original; the rest of the mesh goes on.
func refuseClone(t *T, e *Env) {
	m := newMesh(t, e, 4, func(i int, s *lab.NodeSpec) {
		s.Peers = []string{e.Sites[0].Addr4.String(), e.Sites[1].Addr4.String()}[:min(i, 2)]
	})
	first, other, original, clone := m.nodes[0], m.nodes[1], m.nodes[2], m.nodes[3]
	for _, n := range []*lab.Node{first, other, original} {
		t.ok(n.Up(t.within(20 * time.Second)))
	}
	t.ok(first.WaitFor(t.within(20*time.Second), "peer="+other.Name()))
	t.ok(original.WaitFor(t.within(20*time.Second), "peer="+first.Name()))
	here, there := m.plugged(first, v4(0).String()+"/24"), m.plugged(other, v4(1).String()+"/24")
	here.reaches(v4(1))

	archive, err := lab.Must(t.Context(), original.Machine, "sh", "-ec", "cd "+original.StateDir()+" && base64 -w0 identity.key")
	t.ok(err)
	_, err = lab.Must(t.Context(), clone.Machine, "sh", "-ec",
		"umask 077; mkdir -p "+clone.StateDir()+"; echo "+strings.TrimSpace(archive)+" | base64 -d >"+clone.StateDir()+"/identity.key")
	t.ok(err)
	// The sockets of WireGuard processes are in a folder of the machine, which here is the same one.
	m.launchBehind(clone, "mkdir -p /var/run/wireguard; mount -t tmpfs none /var/run/wireguard")
	t.ok(clone.WaitFor(t.within(20*time.Second), "ready"))
	for _, n := range []*lab.Node{original, clone} {
		t.eventually(30*time.Second, func(context.Context) error {
			for _, p := range t.status(n).Problems {
				if p.Code == "duplicate-identity" && p.Severity == "error" && p.Hint != "" {
					t.Logf("%s: %s (%s)", n.Name(), p.Message, p.Hint)
					return nil
				}
			}
			return errors.New(n.Name() + " does not know of the copy")
		})
	}
	if r := there.ping(v4(0), "-count", "100", "-every", "10ms"); r.Lost() > 0 {
		t.Errorf("%d of %d frames lost between the others", r.Lost(), r.Sent())
	}
	for _, n := range []*lab.Node{first, other} {
		if s := t.status(n); len(s.Peers) != 2 {
			t.Errorf("%s knows %+v", n.Name(), s.Peers)
		}
	}
}
