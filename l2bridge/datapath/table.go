package datapath

import (
	"slices"
	"time"

	"github.com/weavewg/weavewg/learner"
	"github.com/weavewg/weavewg/topology"
)

// Forget drops all MACs behind a peer, in every network.
func (d *Datapath) Forget(peer topology.NodeID) {
	for _, n := range *d.byVNI.Load() {
		n.mu.Lock()
		n.table.DropPeer(peer)
		n.mu.Unlock()
	}
}

// ForgetMAC drops one MAC of a network: what had it was unplugged here.
func (d *Datapath) ForgetMAC(vni uint32, mac learner.MAC) {
	if n := (*d.byVNI.Load())[vni]; n != nil {
		n.mu.Lock()
		n.table.Forget(mac)
		n.mu.Unlock()
	}
}

// NetworkMACs is what is learnt in one network.
type NetworkMACs struct {
	Network  Network
	MACs     []learner.Entry // in MAC order
	Counters learner.Counters
}

// MACs returns what is learnt, in VNI order.
func (d *Datapath) MACs() []NetworkMACs {
	now := time.Now()
	var out []NetworkMACs
	for _, n := range *d.byVNI.Load() {
		n.mu.Lock()
		out = append(out, NetworkMACs{Network: n.Network, MACs: n.table.Entries(now), Counters: n.table.Counters()})
		n.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b NetworkMACs) int { return int(a.Network.VNI) - int(b.Network.VNI) })
	return out
}
