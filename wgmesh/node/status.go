package node

import (
	"fmt"
	"os"
	"time"

	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/wgmesh"
)

// statusOf puts the core's view into the words of the contract.
func statusOf(v wgmesh.View, now time.Time) api.Status {
	s := api.Status{
		Schema: api.StatusSchema,
		Node: api.Node{
			ID: v.Self.String(), Overlay: v.Address, Addresses: v.Addresses, NAT: v.NAT,
			WireGuard: wireGuardWord(v.Device.Kernel), WireGuardReason: v.Device.Reason,
			Datapath:        "pcap",
			DatapathReason:  "frames pass through the daemon: the kernel datapath is not in this version",
			ControlSessions: v.Sessions, PID: os.Getpid(),
		},
		Peers: []api.Peer{}, Targets: []api.Target{}, Networks: []api.Network{}, Problems: []api.Problem{},
	}
	for _, p := range v.Peers {
		s.Peers = append(s.Peers, peerOf(p, now))
	}
	for _, t := range v.Targets {
		s.Targets = append(s.Targets, targetOf(t, now))
	}
	for _, n := range v.Networks {
		s.Networks = append(s.Networks, api.Network{Name: n.Name, VNI: n.VNI, MTU: n.MTU, Members: n.Members})
	}
	return s
}

func wireGuardWord(kernel bool) string {
	if kernel {
		return "kernel"
	}
	return "userspace"
}

func peerOf(p wgmesh.PeerView, now time.Time) api.Peer {
	peer := api.Peer{
		Name: p.Name, ID: p.ID.String(), Version: p.Software, State: p.State.String(), Reason: p.Reason, Since: p.Since,
		Control: "down", Overlay: p.Overlay,
		Path: api.Path{Via: []api.Via{}, MTU: p.MTU},
		WireGuard: api.WireGuard{
			PublicKey: p.PublicKey.String(), Generation: p.Generation, LastHandshake: p.Handshake, RxBytes: p.Rx, TxBytes: p.Tx,
			KeyAgeS: age(p.KeySince, now), PSK: p.PSK, PSKAgeS: age(p.PSKSince, now),
		},
	}
	if p.Control {
		peer.Control = "up"
	}
	if p.Absent > 0 {
		peer.Reason = fmt.Sprintf("%s; not seen for %s", p.Reason, p.Absent.Round(time.Second))
	}
	if p.Endpoint.IsValid() {
		peer.Path.Endpoint = p.Endpoint.String()
	}
	if p.State == wgmesh.LinkUp {
		peer.Path.Kind = "direct"
	}
	peer.Path.RTTms = float64(p.RTT.Microseconds()) / 1000
	peer.Path.Loss = p.Loss
	return peer
}

func targetOf(t wgmesh.TargetView, now time.Time) api.Target {
	target := api.Target{Address: t.Address, Source: t.Source, State: t.State, Reason: t.Reason}
	if t.State == "waiting" && t.Next.After(now) {
		target.NextS = t.Next.Sub(now).Seconds()
	}
	return target
}

// age is how many seconds ago something was; 0 when it never was.
func age(since, now time.Time) float64 {
	if since.IsZero() {
		return 0
	}
	return max(0, now.Sub(since).Seconds())
}

// viewProblems are the problems that the view itself shows, by subject.
func viewProblems(v wgmesh.View, now time.Time) (handshakes, targets, identity map[string]api.Problem) {
	handshakes, targets, identity = map[string]api.Problem{}, map[string]api.Problem{}, map[string]api.Problem{}
	for _, peer := range v.Peers {
		if peer.State != wgmesh.LinkUp && peer.Control && !peer.Left && peer.PSK && now.Sub(peer.Since) > patience {
			handshakes[peer.ID.String()] = api.Problem{
				Severity: "warn", Message: peer.Name + ": " + peer.Reason, Hint: "open the UDP port towards this node, or the other way round",
			}
		}
	}
	for _, t := range v.Targets {
		if t.State != "connected" && t.Reason != "" {
			targets[t.Address] = api.Problem{Severity: "warn", Message: t.Reason, Hint: "see weavewg status, targets"}
		}
	}
	if v.Clones >= 3 {
		identity[""] = api.Problem{
			Severity: "error", Message: "another node runs with a copy of this node's identity",
			Hint: "give one of the two a new one: weavewg down --purge, then init",
		}
	}
	return handshakes, targets, identity
}

// patience is how long a link may take before it is called a problem.
const patience = 15 * time.Second
