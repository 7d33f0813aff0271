package sim

import (
	"fmt"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// violate records that something that must always hold did not; the run stops there.
func (w *World) violate(format string, a ...any) {
	w.violations = append(w.violations, fmt.Sprintf("%v: ", w.Now())+fmt.Sprintf(format, a...))
}

// Violations says what broke, if anything.
func (w *World) Violations() []string { return w.violations }

// maxSessions is how many direct sessions a node may hold at any time: the crowd of topology.Shed, with those that have
// just come and may stay for a moment to learn whom else to talk to.
func (w *World) maxSessions() int {
	return max(4*topology.MaxNeighbours, len(w.Nodes)+topology.MaxNeighbours)
}

// checkNode holds after every step of a node; it must be cheap.
func (w *World) checkNode(n *Node) {
	switch {
	case len(n.ends) > w.maxSessions():
		w.violate("node %d: %d direct sessions", n.index, len(n.ends))
	case len(n.streams) > maxStreams:
		w.violate("node %d: %d routed streams", n.index, len(n.streams))
	case len(n.probes) > 4*len(w.Nodes)+16:
		w.violate("node %d: %d probes wait for an answer", n.index, len(n.probes))
	}
}

// checkSend looks at every message that leaves a node.
func (w *World) checkSend(n *Node, x wgmesh.Send) {
	switch m := x.Message; {
	case m.Routed != nil && m.Routed.Hops >= topology.MaxHops:
		w.violate("node %d: a routed piece leaves with %d hops", n.index, m.Routed.Hops)
	case m.Forget != nil:
		if !w.forgotten[m.Forget.Node] {
			w.violate("node %d: asks to forget %s", n.index, m.Forget.Node)
		}
	case m.Records != nil:
		for _, s := range m.Records {
			w.checkRecord(n, s)
		}
	}
}

// checkRecord looks at records that are told on.
func (w *World) checkRecord(n *Node, s topology.Sealed) {
	if len(s.Body) > topology.MaxRecord {
		w.violate("node %d: tells a record of %d bytes", n.index, len(s.Body))
	}
	if w.codec || w.messages%64 == 0 { // decoding every one would take most of the run
		r, err := topology.DecodeRecord(s.Body)
		if err != nil {
			w.violate("node %d: tells a record that does not decode: %v", n.index, err)
			return
		}
		if about := w.byID[r.ID()]; about != nil && r.Left && !about.left {
			w.violate("node %d: says that node %d has left, which lives", n.index, about.index)
		}
	}
}

// checkSpec looks at every device that a core asks for.
func (w *World) checkSpec(n *Node, spec wgmesh.DeviceSpec) {
	if len(spec.Slots) > topology.MaxSlots {
		w.violate("node %d: %d slots", n.index, len(spec.Slots))
	}
	for _, s := range spec.Slots {
		if len(s.Peers) > len(w.Nodes)-1 {
			w.violate("node %d: %d tunnels on slot %d", n.index, len(s.Peers), s.Slot)
		}
		for _, p := range s.Peers {
			if p.PSK == (wgtypes.Key{}) {
				w.violate("node %d: asks for a tunnel without a pre-shared key", n.index)
			}
		}
	}
}

// checkAll holds every second.
func (w *World) checkAll() {
	for _, n := range w.Nodes {
		if len(n.host.slots) > topology.MaxSlots {
			w.violate("node %d: %d slots on its host", n.index, len(n.host.slots))
		}
		if len(n.state.Targets) > topology.MaxNodes || len(n.state.Records) > len(w.Nodes) {
			w.violate("node %d: remembers %d addresses and %d records", n.index, len(n.state.Targets), len(n.state.Records))
		}
		direct := map[*Node]int{}
		for _, e := range n.ends {
			if e.far.open {
				direct[e.far.node]++
			}
		}
		for far, count := range direct {
			if count > 4 {
				w.violate("node %d: %d open sessions with node %d", n.index, count, far.index)
			}
		}
	}
	if len(w.clock.todo) > 2000*len(w.Nodes)+100000 {
		w.violate("%d things are scheduled", len(w.clock.todo))
	}
}
