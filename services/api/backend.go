package api

import (
	"context"
	"time"
)

// Backend is the daemon as the API sees it. Methods may be called from many goroutines at once and answer from what
// the daemon knows at that moment. An error that is an *Error reaches the user with its code, any other as CodeFailed.
//
// Peers arrive as node ids: the server has already looked names and prefixes up in Status. Networks arrive as they
// were typed; "" means the first of the configuration, and an unknown one is an *Error of CodeNotFound.
type Backend interface {
	Status() Status
	Counters() Counters
	// MACs lists the learnt addresses of one network, or of all for "".
	MACs(network string) (MACs, error)
	Ports() Ports
	Keys() Keys
	// Config returns the effective configuration as YAML; it holds paths of secrets, never a secret.
	Config() string

	// Ping probes the peer with this id once a second, count times (0: until ctx ends), and hands over each reply or
	// loss. An error of each ends it and is returned.
	Ping(ctx context.Context, peer string, count int, each func(PingReply) error) error
	// Capture hands over frames of one network (or of all for "") with their verdicts until ctx ends. It never holds
	// the datapath up: frames that each is too slow for are counted in the next one's Missed.
	Capture(ctx context.Context, network string, each func(CapturedFrame) error) error

	// Attach plugs a target in and remembers it. Attaching again with the same network adds the addresses.
	Attach(ctx context.Context, r AttachRequest) (Port, error)
	// Detach takes addresses away, or for none the whole port.
	Detach(ctx context.Context, r DetachRequest) error
	// Expose gives the host itself an address in a network.
	Expose(ctx context.Context, r ExposeRequest) (Port, error)
	// Hide undoes Expose for these addresses, or for none altogether.
	Hide(ctx context.Context, r ExposeRequest) error

	// Connect adds targets ("host:port", complete) that persist.
	Connect(targets []string) error
	// ForgetTargets drops targets that Connect added; the server has refused those of the configuration.
	ForgetTargets(targets []string) error
	// ForgetNode drops an absent node from the mesh; one that is present is an *Error of CodeFailed.
	ForgetNode(id string) error

	// Reload reads the configuration again and applies it whole or refuses it whole.
	Reload(ctx context.Context) (ReloadResult, error)
	// Down removes the data plane, and with purge also identity, attachments and targets. When it returns nil the
	// daemon ends by itself, after the answer was sent.
	Down(ctx context.Context, purge bool) error
}

// DetachRequest unplugs something.
type DetachRequest struct {
	Target    string   `json:"target"`
	Network   string   `json:"network"`   // "": every network it is in
	Addresses []string `json:"addresses"` // CIDRs; empty: the whole port
}

// ExposeRequest lets the host itself join or leave a network.
type ExposeRequest struct {
	Network   string   `json:"network"`   // "": the first
	Addresses []string `json:"addresses"` // CIDRs, or auto
}

// ReloadResult says what a reload changed.
type ReloadResult struct {
	Schema  string   `json:"schema"`
	Changed []string `json:"changed"` // keys of the configuration, such as "log.level"
}

// CapturedFrame is one frame as the datapath saw it, with what became of it.
type CapturedFrame struct {
	Schema  string `json:"schema"`
	TimeNS  int64  `json:"time_ns"` // Unix time in nanoseconds
	Network string `json:"network"`
	From    string `json:"from"` // port (this node's bridge) or overlay (a peer)
	Peer    string `json:"peer"` // name of the peer that it came from or goes to; "" for several or none
	Verdict string `json:"verdict"`
	Length  int    `json:"length"` // bytes on the wire; Data may be shorter
	Data    []byte `json:"data"`
	Missed  uint64 `json:"missed"` // frames not handed over since the previous one
}

// Counters are totals since the daemon started, for metrics.
type Counters struct {
	Schema  string         `json:"schema"`
	Frames  []FrameCounter `json:"frames"`
	Drops   []DropCounter  `json:"drops"`
	Control ByteCounter    `json:"control"` // bytes on control sessions, TLS records included
	Relay   ByteCounter    `json:"relay"`   // ciphertext forwarded for others
}

// FrameCounter counts the frames of one class and direction.
type FrameCounter struct {
	Class     string `json:"class"`     // such as unicast, broadcast, multicast, unknown
	Direction string `json:"direction"` // tx: into the overlay, rx: out of it
	Frames    uint64 `json:"frames"`
	Bytes     uint64 `json:"bytes"`
}

// DropCounter counts frames that went nowhere.
type DropCounter struct {
	Reason string `json:"reason"`
	Frames uint64 `json:"frames"`
}

// ByteCounter counts bytes both ways.
type ByteCounter struct {
	RxBytes uint64 `json:"rx_bytes"`
	TxBytes uint64 `json:"tx_bytes"`
}

// Report is everything that helps to find a fault, and no secret.
type Report struct {
	Schema   string    `json:"schema"`
	Time     time.Time `json:"time"`
	Status   Status    `json:"status"`
	Counters Counters  `json:"counters"`
	MACs     []MAC     `json:"macs"`
	Ports    []Port    `json:"ports"`
	Keys     Keys      `json:"keys"`
	Config   string    `json:"config"`
	Versions Versions  `json:"versions"`
}

// Versions says what runs.
type Versions struct {
	Weavewg string            `json:"weavewg"`
	Go      string            `json:"go"`
	Kernel  string            `json:"kernel"`
	Modules map[string]string `json:"modules"` // of the binary
}

// Peers is the part of Status about peers.
type Peers struct {
	Schema string `json:"schema"`
	Peers  []Peer `json:"peers"`
}

// PingRequest asks for probes of a peer.
type PingRequest struct {
	Peer  string `json:"peer"`  // name, or a prefix of its id
	Count int    `json:"count"` // 0: until the caller goes away
}

// ForgetRequest drops targets and absent nodes.
type ForgetRequest struct {
	Targets []string `json:"targets"`
	Nodes   []string `json:"nodes"` // names, or prefixes of ids
}

// DownRequest takes the node down.
type DownRequest struct {
	Purge bool `json:"purge"`
}
