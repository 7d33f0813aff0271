package scenarios

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/weavewg/weavewg/integration/lab"
)

// processInfo is a process as the probe lists it.
type processInfo struct {
	PID    int      `json:"pid"`
	Parent int      `json:"parent"`
	Args   []string `json:"args"`
}

// processes lists those of a machine whose command line holds a text.
func (m *mesh) processes(n *lab.Node, text string) []processInfo {
	m.t.Helper()
	out, err := lab.Must(m.t.Context(), n.Machine, m.env.Probe, "ps", text)
	m.t.ok(err)
	var all []processInfo
	m.t.ok(json.Unmarshal([]byte(out), &all))
	return all
}

// keeper is the process that holds a node's overlay namespace.
func (m *mesh) keeper(n *lab.Node) int {
	m.t.Helper()
	found := m.processes(n, "keeper --run-dir "+n.RunDir())
	if len(found) != 1 {
		m.t.Fatalf("%s has %d keepers: %+v", n.Name(), len(found), found)
	}
	return found[0].PID
}

// child is the process of one of a node's userspace WireGuard devices.
func (m *mesh) child(n *lab.Node, slot int) processInfo {
	m.t.Helper()
	keeper := m.keeper(n)
	for _, p := range m.processes(n, " wireguard ") {
		if p.Parent == keeper && strings.HasSuffix(p.Args[len(p.Args)-1], "-"+strconv.Itoa(slot)) {
			return p
		}
	}
	m.t.Fatalf("%s has no WireGuard process of slot %d", n.Name(), slot)
	return processInfo{}
}

// overlay is the overlay namespace of a node, as something to run probes in.
func (m *mesh) overlay(n *lab.Node) *container {
	m.t.Helper()
	return &container{t: m.t, node: n, probe: m.env.Probe, pid: m.keeper(n)}
}

// gone waits until no process of a node is left.
func (m *mesh) gone(ctx context.Context, n *lab.Node) error {
	return lab.Until(ctx, func(ctx context.Context) error {
		out, err := lab.Must(ctx, n.Machine, m.env.Probe, "ps", n.Spec.Dir)
		if err != nil {
			return lab.Final(err)
		}
		if strings.TrimSpace(out) != "[]" {
			return errLeft(out)
		}
		return nil
	})
}

// errLeft says what is still there.
type errLeft string

func (e errLeft) Error() string { return "left over: " + string(e) }
