package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weavewg/weavewg/services/api"
)

// MaxPeers is how many peers have series of their own, those with the lowest ids; the totals count all.
const MaxPeers = 256

// Source is what is shown; api.Backend is one.
type Source interface {
	Status() api.Status
	Counters() api.Counters
}

// collector turns a Source into metrics at every scrape: it keeps nothing, so nothing can grow old.
type collector struct {
	source Source
	now    func() time.Time
}

var (
	perPeer = []string{"peer", "id"}

	info          = desc("info", "What runs; the value is always 1.", "mesh", "name", "id", "version", "wireguard", "datapath")
	ready         = desc("ready", "1 when the datapath is built.")
	uptime        = desc("uptime_seconds", "Time since the daemon started.")
	sessions      = desc("control_sessions", "Control sessions of this node.")
	peers         = desc("peers", "Other nodes of the mesh that this node knows.")
	links         = desc("links", "Links to peers by state.", "state")
	problems      = desc("problems", "Problems that status lists, by severity.", "severity")
	peerRTT       = desc("peer_rtt_seconds", "Round-trip time through the tunnel of a peer.", perPeer...)
	peerLoss      = desc("peer_loss_ratio", "Share of recent probes to a peer that were lost.", perPeer...)
	peerMTU       = desc("peer_mtu_bytes", "Largest packet on the path to a peer.", perPeer...)
	peerPath      = desc("peer_path", "Kind of the path to a peer; the value is always 1.", "peer", "id", "path")
	peerHandshake = desc("peer_handshake_age_seconds", "Time since the last WireGuard handshake with a peer.", perPeer...)
	peerKey       = desc("peer_key_age_seconds", "Time since the WireGuard key of a peer changed.", perPeer...)
	peerBytes     = desc("peer_bytes_total", "Bytes through the tunnel of a peer, since it was made.", "peer", "id", "direction")
	frames        = desc("frames_total", "Frames through the datapath.", "class", "direction")
	frameBytes    = desc("frame_bytes_total", "Bytes of frames through the datapath, Ethernet headers included.", "class", "direction")
	drops         = desc("drops_total", "Frames and packets that went nowhere.", "reason")
	controlBytes  = desc("control_bytes_total", "Bytes on control sessions.", "direction")
	relayBytes    = desc("relay_bytes_total", "Bytes of ciphertext that were forwarded for others.", "direction")
	networkPorts  = desc("network_ports", "Ports plugged into a network here.", "network")
	networkMACs   = desc("network_macs", "Learnt addresses of a network.", "network")
	networkNodes  = desc("network_members", "Nodes that are members of a network, this one included.", "network")
	networkMTU    = desc("network_mtu_bytes", "Largest packet inside a network.", "network")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("weavewg_"+name, help, labels, nil)
}

// Describe sends nothing: which series there are depends on the mesh.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the source once.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	s := c.source.Status()
	gauge(info, 1, s.Mesh, s.Node.Name, s.Node.ID, s.Node.Version, s.Node.WireGuard, s.Node.Datapath)
	isReady := 0.0
	if s.Ready {
		isReady = 1
	}
	gauge(ready, isReady)
	gauge(uptime, s.Node.UptimeS)
	gauge(sessions, float64(s.Node.ControlSessions))
	gauge(peers, float64(len(s.Peers)))
	states := map[string]int{"up": 0, "connecting": 0, "down": 0}
	for _, p := range s.Peers {
		states[p.State]++
	}
	for state, n := range states {
		gauge(links, float64(n), state)
	}
	severities := map[string]int{"warn": 0, "error": 0}
	for _, p := range s.Problems {
		severities[p.Severity]++
	}
	for severity, n := range severities {
		gauge(problems, float64(n), severity)
	}
	for _, n := range s.Networks {
		gauge(networkPorts, float64(n.Ports), n.Name)
		gauge(networkMACs, float64(n.MACCount), n.Name)
		gauge(networkNodes, float64(len(n.Members)), n.Name)
		gauge(networkMTU, float64(n.MTU), n.Name)
	}
	for _, p := range lowest(s.Peers) {
		c.peer(p, gauge, counter)
	}
	n := c.source.Counters()
	for _, f := range n.Frames {
		counter(frames, f.Frames, f.Class, f.Direction)
		counter(frameBytes, f.Bytes, f.Class, f.Direction)
	}
	for _, d := range n.Drops {
		counter(drops, d.Frames, d.Reason)
	}
	counter(controlBytes, n.Control.RxBytes, "rx")
	counter(controlBytes, n.Control.TxBytes, "tx")
	counter(relayBytes, n.Relay.RxBytes, "rx")
	counter(relayBytes, n.Relay.TxBytes, "tx")
}

// peer shows one peer; what is not known of it has no series.
func (c *collector) peer(p api.Peer, gauge func(*prometheus.Desc, float64, ...string), counter func(*prometheus.Desc, uint64, ...string)) {
	name, id := p.Name, p.ID[:min(8, len(p.ID))]
	if p.Path.RTTms > 0 {
		gauge(peerRTT, p.Path.RTTms/1000, name, id)
	}
	if p.State == "up" {
		gauge(peerLoss, p.Path.Loss, name, id)
	}
	if p.Path.MTU > 0 {
		gauge(peerMTU, float64(p.Path.MTU), name, id)
	}
	if p.Path.Kind != "" {
		gauge(peerPath, 1, name, id, p.Path.Kind)
	}
	if w := p.WireGuard; w.PublicKey != "" {
		if !w.LastHandshake.IsZero() {
			gauge(peerHandshake, max(0, c.now().Sub(w.LastHandshake).Seconds()), name, id)
		}
		gauge(peerKey, w.KeyAgeS, name, id)
		counter(peerBytes, w.RxBytes, name, id, "rx")
		counter(peerBytes, w.TxBytes, name, id, "tx")
	}
}
