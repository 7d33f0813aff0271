package sim

import (
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// probeSlices is in how many turns the prober goes round its links, as wgmesh/node's does.
const probeSlices = 8

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

func (n *Node) probeAgain(run int) {
	n.world.clock.after(wgmesh.ProbeEvery/probeSlices, func() {
		if n.run != run {
			return
		}
		if !n.frozen() {
			n.probe()
		}
		n.probeAgain(run)
	})
}

// probe is wgmesh/node's prober: an eighth of the links every quarter of a second.
func (n *Node) probe() {
	now := n.world.clock.now
	for back := uint16(0); back <= n.seq && len(n.probes) > 0; back++ { // in order of sending: maps have none
		seq := n.seq - back
		if p, ok := n.probes[seq]; ok && now.Sub(p.sent) > wgmesh.ProbeTimeout {
			delete(n.probes, seq)
			n.post(wgmesh.Probed{Peer: p.peer, Seq: seq})
		}
		if int(back) > 16*len(n.snapshot.Probe)+256 {
			break
		}
	}
	n.turn++
	for i := n.turn % probeSlices; i < len(n.snapshot.Probe); i += probeSlices {
		m := n.snapshot.Probe[i]
		n.seq++
		n.probes[n.seq] = probe{m.ID, now}
		n.host.transmit(packet{source: n.snapshot.Address, dst: m.Address, size: 64, payload: ping{n.seq}})
	}
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
	case *Flow:
		p.Got++
	case pong:
		if sent, ok := n.probes[p.seq]; ok {
			delete(n.probes, p.seq)
			n.post(wgmesh.Probed{Peer: sent.peer, Seq: p.seq, RTT: n.world.clock.now.Sub(sent.sent)})
		}
	}
}
