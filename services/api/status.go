package api

import (
	"net/netip"
	"time"
)

// Schemas of the JSON answers. A field is never renamed or removed within a version.
const (
	StatusSchema = "weavewg.status/v1"
	PeersSchema  = "weavewg.peers/v1"
	MACsSchema   = "weavewg.macs/v1"
	PortsSchema  = "weavewg.ports/v1"
	KeysSchema   = "weavewg.keys/v1"
	PingSchema   = "weavewg.ping/v1"

	CountersSchema = "weavewg.counters/v1"
	CaptureSchema  = "weavewg.capture/v1"
	ReloadSchema   = "weavewg.reload/v1"
	ReportSchema   = "weavewg.report/v1"
)

// Status answers "how is this node and why".
type Status struct {
	Schema   string    `json:"schema"`
	Mesh     string    `json:"mesh"`
	Ready    bool      `json:"ready"` // the datapath is built
	Node     Node      `json:"node"`
	Peers    []Peer    `json:"peers"`
	Targets  []Target  `json:"targets"`
	Networks []Network `json:"networks"`
	Problems []Problem `json:"problems"`
}

// Node is this node.
type Node struct {
	Name            string       `json:"name"`
	ID              string       `json:"id"`
	RunID           string       `json:"run_id"`
	Version         string       `json:"version"`
	UptimeS         float64      `json:"uptime_s"`
	Overlay         netip.Addr   `json:"overlay_address"`
	Addresses       []netip.Addr `json:"addresses"`
	NAT             string       `json:"nat"` // "unknown" until peers told what they see, "none", "mapped"
	WireGuard       string       `json:"wireguard"`
	WireGuardReason string       `json:"wireguard_reason"`
	Datapath        string       `json:"datapath"`
	DatapathReason  string       `json:"datapath_reason"`
	ControlSessions int          `json:"control_sessions"`
	PID             int          `json:"pid"`
}

// Peer is another node of the mesh and the link to it.
type Peer struct {
	Name      string     `json:"name"`
	ID        string     `json:"id"`
	Version   string     `json:"version"`
	State     string     `json:"state"` // up, connecting, down
	Reason    string     `json:"reason"`
	Since     time.Time  `json:"since"`
	Control   string     `json:"control"` // up, down
	Overlay   netip.Addr `json:"overlay_address"`
	Path      Path       `json:"path"`
	WireGuard WireGuard  `json:"wireguard"`
}

// Path is how packets reach a peer.
type Path struct {
	Kind     string  `json:"kind"` // direct, relay, tcp; "" when there is none
	Via      []Via   `json:"via"`
	Endpoint string  `json:"endpoint"`
	RTTms    float64 `json:"rtt_ms"` // 0: not known
	Loss     float64 `json:"loss"`   // 0 to 1, of the recent probes
	MTU      int     `json:"mtu"`
	Reason   string  `json:"reason"` // why not direct
}

// Via is one relay on a path.
type Via struct {
	Name string `json:"name"`
	ID   string `json:"id"`
}

// WireGuard is the tunnel that carries a link.
type WireGuard struct {
	PublicKey     string    `json:"public_key"`
	Slot          int       `json:"slot"`
	Generation    uint32    `json:"generation"`
	LastHandshake time.Time `json:"last_handshake"`
	RxBytes       uint64    `json:"rx_bytes"`
	TxBytes       uint64    `json:"tx_bytes"`
	KeyAgeS       float64   `json:"key_age_s"`
	PSK           bool      `json:"psk"`
	PSKAgeS       float64   `json:"psk_age_s"`
}

// Target is an address that the node dials.
type Target struct {
	Address string  `json:"address"`
	Source  string  `json:"source"` // config, connect
	Place   string  `json:"place"`  // where the configuration names it (file:line); "" for connect
	State   string  `json:"state"`  // connected, dialling, waiting
	Reason  string  `json:"reason"` // why the last try failed
	NextS   float64 `json:"next_s"` // seconds to the next try
}

// Network is one layer-2 segment as this node has it.
type Network struct {
	Name     string   `json:"name"`
	VNI      uint32   `json:"vni"`
	Subnet   string   `json:"subnet"`
	MTU      int      `json:"mtu"`
	Ports    int      `json:"ports"`
	Members  []string `json:"members"` // names, self included
	MACCount int      `json:"mac_count"`
}

// Problem is something a person should know. Codes are stable and listed in docs/problems.md.
type Problem struct {
	Code     string    `json:"code"`
	Severity string    `json:"severity"` // warn, error
	Message  string    `json:"message"`
	Hint     string    `json:"hint"`
	Since    time.Time `json:"since"`
}

// MACs lists learnt addresses.
type MACs struct {
	Schema string `json:"schema"`
	MACs   []MAC  `json:"macs"`
}

// MAC is one learnt address.
type MAC struct {
	Network string       `json:"network"`
	MAC     string       `json:"mac"`
	IPs     []netip.Addr `json:"ips"`
	Peer    string       `json:"peer"` // name; this node's for local ones
	PeerID  string       `json:"peer_id"`
	Local   bool         `json:"local"`
	Carried string       `json:"carried"` // bridge (local), vxlan-pcap
	AgeS    float64      `json:"age_s"`
	Moves   int          `json:"moves"`
}

// Ports lists what is plugged in.
type Ports struct {
	Schema string `json:"schema"`
	Ports  []Port `json:"ports"`
}

// Port is one thing plugged into a network here.
type Port struct {
	Network   string   `json:"network"`
	Kind      string   `json:"kind"` // container, netns, pid, host
	Target    string   `json:"target"`
	Container string   `json:"container"` // name, if it is one
	Interface string   `json:"interface"`
	MAC       string   `json:"mac"`
	Addresses []string `json:"addresses"` // CIDR
	State     string   `json:"state"`     // up, waiting (the target is not there now)
	Reason    string   `json:"reason"`
}

// Keys shows public keys and their ages; never a private one.
type Keys struct {
	Schema   string `json:"schema"`
	NodeID   string `json:"node_id"`
	Identity string `json:"identity"` // Ed25519 public key, base64
	Slots    []Slot `json:"slots"`
}

// Slot is one WireGuard device of this node.
type Slot struct {
	Slot       int     `json:"slot"`
	Interface  string  `json:"interface"`
	Port       uint16  `json:"port"`
	PublicKey  string  `json:"public_key"`
	Generation uint32  `json:"generation"`
	AgeS       float64 `json:"age_s"`
	Tunnels    int     `json:"tunnels"`
}

// PingReply is one line of weavewg ping.
type PingReply struct {
	Schema string  `json:"schema"`
	Peer   string  `json:"peer"`
	Seq    int     `json:"seq"`
	RTTms  float64 `json:"rtt_ms"`
	Lost   bool    `json:"lost"`
	Path   Path    `json:"path"`
}

// AttachRequest plugs something in.
type AttachRequest struct {
	Target    string   `json:"target"`    // container name or id, pid, netns path
	Network   string   `json:"network"`   // "" : the first
	Interface string   `json:"interface"` // "" : ethwe, ethwe1, …
	Addresses []string `json:"addresses"` // CIDRs, or one of auto, none
}

// Connection is the body of connect and forget.
type Connection struct {
	Targets []string `json:"targets"`
}
