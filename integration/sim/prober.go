package sim

import (
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// probe is one that was sent and not answered yet.
type probe struct {
	peer topology.NodeID
	sent time.Time
}

// ping and pong are the payloads of probes.
type (
	ping struct{ seq uint16 }
	pong struct{ seq uint16 }
)

// probe is wgmesh/node's prober: it sends to each link at the pace that the core asks for.
func (n *Node) probe() {
	w, run := n.world, n.run
	now := w.clock.now
	if n.frozen() {
		n.prober.set(n.thaw)
		return
	}
	next := now.Add(time.Hour)
	for _, p := range n.snapshot.Probe {
		due := n.probed[p.ID].Add(p.Every)
		if !due.After(now) {
			n.probed[p.ID] = now
			due = now.Add(p.Every)
			n.seq++
			seq := n.seq
			sent := probe{p.ID, now}
			n.probes[seq] = sent
			n.host.transmit(packet{source: n.snapshot.Address, dst: p.Address, size: 64, payload: ping{seq}})
			w.clock.after(wgmesh.ProbeTimeout, func() {
				if n.run == run && n.probes[seq] == sent {
					delete(n.probes, seq)
					n.post(wgmesh.Probed{Peer: sent.peer, Seq: seq})
				}
			})
		}
		if due.Before(next) {
			next = due
		}
	}
	n.prober.set(next)
}

// packet is what came out of a tunnel: the host answers probes, the prober takes answers.
func (n *Node) packet(_ *wgPeer, source, dst netip.Addr, payload any) {
	if dst != n.host.address {
		n.world.violate("node %d: a packet for %v came out of a tunnel", n.index, dst)
		return
	}
	switch p := payload.(type) {
	case ping:
		n.host.transmit(packet{source: dst, dst: source, size: 64, payload: pong(p)})
	case *flowPacket:
		p.flow.arrived(p)
	case pong:
		if sent, ok := n.probes[p.seq]; ok {
			delete(n.probes, p.seq)
			n.post(wgmesh.Probed{Peer: sent.peer, Seq: p.seq, RTT: n.world.clock.now.Sub(sent.sent)})
		}
	}
}
