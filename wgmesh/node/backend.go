package node

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/datapath"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

var _ api.Backend = (*Node)(nil)

// Status answers from the core's view, the bridges and the problems.
func (n *Node) Status() api.Status {
	v := n.view()
	now := time.Now()
	handshakes, targets, identity := viewProblems(v, now)
	n.problems.replace("no-handshake", handshakes)
	n.problems.replace("target", targets)
	n.problems.replace("duplicate-identity", identity)
	s := statusOf(v, now)
	c := n.current()
	s.Mesh = c.Mesh
	s.Ready = n.ready.Load()
	s.Node.Name, s.Node.Version = c.Node.Name, n.opts.Version
	s.Node.RunID = fmt.Sprintf("%x", n.run)
	s.Node.UptimeS = now.Sub(n.started).Seconds()
	for i := range s.Targets {
		s.Targets[i].Place = c.PeerPlace(s.Targets[i].Address)
	}
	macs := map[uint32]int{}
	for _, m := range n.datapath.MACs() {
		macs[m.Network.VNI] = len(m.MACs)
	}
	for i := range s.Networks {
		network := &s.Networks[i]
		if known, ok := c.Network(network.Name); ok {
			network.Subnet = known.Subnet.String()
		}
		network.MACCount = macs[network.VNI]
		network.Ports = n.ports.count(network.Name)
	}
	s.Problems = append(s.Problems, n.problems.all()...)
	return s
}

// Counters are the totals of datapath and control.
func (n *Node) Counters() api.Counters {
	stats := n.datapath.Stats()
	c := api.Counters{Schema: api.CountersSchema, Frames: []api.FrameCounter{}, Drops: []api.DropCounter{}}
	for direction, name := range map[datapath.Direction]string{datapath.Out: "tx", datapath.In: "rx"} {
		for class, count := range stats.Traffic[direction] {
			c.Frames = append(c.Frames, api.FrameCounter{Class: l2bridge.Class(class).String(), Direction: name, Frames: count.Frames, Bytes: count.Bytes})
		}
	}
	for why, frames := range stats.Drops {
		if frames > 0 {
			c.Drops = append(c.Drops, api.DropCounter{Reason: l2bridge.Why(why).String(), Frames: frames})
		}
	}
	c.Control.RxBytes, c.Control.TxBytes = n.sessions.traffic()
	return c
}

// Keys shows public keys.
func (n *Node) Keys() api.Keys {
	v := n.view()
	public := n.identity.Public()
	return api.Keys{
		Schema: api.KeysSchema, NodeID: v.Self.String(), Identity: base64.StdEncoding.EncodeToString(public[:]),
		Slots: []api.Slot{{
			Slot: 0, Interface: v.Slot.Name, Port: v.Slot.Port, PublicKey: v.Slot.PublicKey.String(), Generation: v.Slot.Generation,
			AgeS: age(v.Slot.Since, time.Now()), Tunnels: v.Slot.Tunnels,
		}},
	}
}

// Config is the effective configuration as YAML.
func (n *Node) Config() string { return n.current().Show() }

// Ping probes a peer through its tunnel.
func (n *Node) Ping(ctx context.Context, peer string, count int, each func(api.PingReply) error) error {
	id, err := topology.ParseNodeID(peer)
	if err != nil {
		return api.Errorf(api.CodeNotFound, "%v", err)
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for seq := 1; count == 0 || seq <= count; seq++ {
		path, name, ok := n.pathTo(id)
		if !ok {
			return api.Errorf(api.CodeNotFound, "no node %s in this mesh", peer)
		}
		member := wgmesh.Member{ID: id, Address: topology.OverlayAddress(n.current().Mesh, id)}
		rtt, answered := n.prober.ping(ctx, member)
		reply := api.PingReply{Schema: api.PingSchema, Peer: name, Seq: seq, Lost: !answered, Path: path}
		if answered {
			reply.RTTms = float64(rtt.Microseconds()) / 1000
		}
		if err := each(reply); err != nil {
			return err
		}
		if count != 0 && seq == count {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
	return nil
}

// pathTo is the path that packets to a peer take now.
func (n *Node) pathTo(id topology.NodeID) (path api.Path, name string, ok bool) {
	v := n.view()
	for _, p := range v.Peers {
		if p.ID == id {
			peer := peerOf(p, time.Now())
			return peer.Path, peer.Name, true
		}
	}
	return api.Path{}, "", false
}

// Connect adds targets that persist.
func (n *Node) Connect(targets []string) error {
	n.loop.take(wgmesh.Connect{Targets: targets})
	return n.remembered()
}

// remembered says that the last change of the core's state is not on the disk, if so.
func (n *Node) remembered() error {
	if why := n.problems.has("state-write"); why != "" {
		return api.Errorf(api.CodeFailed, "done until weavewg restarts, but not remembered: %s", why)
	}
	return nil
}

// ForgetTargets drops targets that Connect added.
func (n *Node) ForgetTargets(targets []string) error {
	n.loop.take(wgmesh.ForgetTargets{Targets: targets})
	return n.remembered()
}

// ForgetNode drops an absent node from the mesh.
func (n *Node) ForgetNode(node string) error {
	id, err := topology.ParseNodeID(node)
	if err != nil {
		return api.Errorf(api.CodeNotFound, "%v", err)
	}
	v := n.view()
	for _, p := range v.Peers {
		if p.ID == id && p.Control {
			return api.Errorf(api.CodeFailed, "%s is present: stop it first, a node that is there comes back by itself", p.Name)
		}
	}
	n.loop.post(wgmesh.ForgetNode{Node: id})
	return nil
}

// Down ends the node and removes its data plane.
func (n *Node) Down(_ context.Context, purge bool) error {
	n.purge.Store(purge)
	n.loop.post(wgmesh.Leave{})
	time.AfterFunc(downDelay, func() { n.stop(errDown) })
	return nil
}

// downDelay lets the answer and the goodbyes leave.
const downDelay = 300 * time.Millisecond

func (n *Node) current() *config.Config {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.config
}

// names of nodes by id, this one included.
func (n *Node) names() map[topology.NodeID]string {
	v := n.view()
	names := map[topology.NodeID]string{v.Self: n.current().Node.Name}
	for _, p := range v.Peers {
		names[p.ID] = p.Name
	}
	return names
}

// Attach plugs a target in.
func (n *Node) Attach(ctx context.Context, r api.AttachRequest) (api.Port, error) {
	return n.ports.attach(ctx, r)
}

// Detach unplugs one.
func (n *Node) Detach(ctx context.Context, r api.DetachRequest) error { return n.ports.detach(ctx, r) }

// Expose plugs the host in.
func (n *Node) Expose(_ context.Context, r api.ExposeRequest) (api.Port, error) {
	return n.ports.expose(r)
}

// Hide unplugs the host.
func (n *Node) Hide(ctx context.Context, r api.ExposeRequest) error { return n.ports.hide(ctx, r) }

// Ports lists what is plugged in.
func (n *Node) Ports() api.Ports { return n.ports.all() }

// MACs lists what is learnt, and the MACs of local ports.
func (n *Node) MACs(network string) (api.MACs, error) {
	c := n.current()
	if network != "" {
		if _, ok := c.Network(network); !ok {
			return api.MACs{}, api.Errorf(api.CodeNotFound, "no network %q here", network)
		}
	}
	names := n.names()
	self := n.self()
	out := api.MACs{Schema: api.MACsSchema, MACs: []api.MAC{}}
	for _, one := range n.datapath.MACs() {
		if network != "" && one.Network.Name != network {
			continue
		}
		for _, e := range one.MACs {
			mac := api.MAC{
				Network: one.Network.Name, MAC: e.MAC.String(), IPs: []netip.Addr{}, Peer: names[e.Owner], PeerID: e.Owner.String(),
				Local: e.Owner.IsZero() || e.Owner == self, Carried: "vxlan-pcap", AgeS: age(e.Seen, time.Now()), Moves: e.Moves,
			}
			if mac.Local {
				mac.Carried, mac.Peer, mac.PeerID = "bridge", names[self], self.String()
			}
			for _, b := range e.IPs {
				mac.IPs = append(mac.IPs, b.IP)
			}
			out.MACs = append(out.MACs, mac)
		}
	}
	return out, nil
}

// Capture hands over frames with their verdicts.
func (n *Node) Capture(ctx context.Context, network string, each func(api.CapturedFrame) error) error {
	if _, ok := n.current().Network(network); !ok {
		return api.Errorf(api.CodeNotFound, "no network %q here", network)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	names := n.names()
	n.datapath.Tap(ctx, network, func(t datapath.Tapped) {
		frame := api.CapturedFrame{
			Schema: api.CaptureSchema, TimeNS: t.Time.UnixNano(), Network: t.Network, From: "port", Verdict: verdictText(t),
			Length: len(t.Data), Data: t.Data, Missed: t.Missed,
		}
		if t.Direction == datapath.In {
			frame.From = "overlay"
		}
		if len(t.Peers) == 1 {
			frame.Peer = names[t.Peers[0]]
		}
		if err := each(frame); err != nil {
			stop(err)
		}
	})
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// verdictText says what became of a frame: its class and, if it went nowhere, why.
func verdictText(t datapath.Tapped) string {
	if t.Why == l2bridge.Forwarded {
		return fmt.Sprintf("%s to %d", t.Class, len(t.Peers))
	}
	return fmt.Sprintf("dropped: %s", t.Why)
}
