package wgmesh

import (
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// Effect is something the core wants done. The edge does effects in order and reports back by Events.
type Effect interface{ effect() }

type (
	// Dial tries a control session to an address ("host:port"; names are resolved at every try). Answer: SessionUp or
	// DialFailed with the same Target.
	Dial struct{ Target string }
	// OpenRouted tries a session over a stream that neighbours carry. Answer: SessionUp or DialFailed with the Peer.
	OpenRouted struct{ Peer topology.NodeID }
	// DeliverRouted hands a piece of a routed stream to its end at this node (opening it, for Seq 0 from an opener).
	DeliverRouted struct{ Piece topology.Routed }
	// Send puts a message on a session. A session that cannot take it in time is ended by the edge.
	Send struct {
		ID      SessionID
		Message topology.Message
	}
	// CloseSession ends a session after what was sent before.
	CloseSession struct {
		ID     SessionID
		Reason string
	}
	// Converge asks that the device become Spec; a later one replaces an earlier one. Answer: Observed.
	Converge struct {
		Spec       DeviceSpec
		Generation uint64
	}
	// Publish gives the datapath and the prober a new snapshot.
	Publish struct{ Snapshot Snapshot }
	// Persist asks that State be on disk; failing that is a problem, not an end.
	Persist struct{ State State }
	// Note is a line for the log.
	Note struct {
		Level Level
		Code  string // stable, such as "session-up"
		Peer  string // name or id, or ""
		Text  string
	}
)

// Level of a Note.
type Level uint8

// The levels.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

// Snapshot is what carries frames need to know: immutable once published.
type Snapshot struct {
	Self     topology.NodeID
	Address  netip.Addr // own overlay address
	Networks []Network  // in VNI order
	// Probe lists the links in use: the prober sends one echo request every ProbeEvery to each.
	Probe []Member
}

// ProbeEvery is the pace of probes on a link in use; one that is not answered within ProbeTimeout is lost.
const (
	ProbeEvery   = 2 * time.Second
	ProbeTimeout = 2 * time.Second
)

// Network is one isolated layer-2 segment and its other members that can be reached now.
type Network struct {
	Name    string
	VNI     uint32
	MTU     int
	Members []Member // in id order, without self
}

// Member is a peer whose link carries frames.
type Member struct {
	ID      topology.NodeID
	Address netip.Addr // overlay address
}

func (Dial) effect()          {}
func (OpenRouted) effect()    {}
func (DeliverRouted) effect() {}
func (Send) effect()          {}
func (CloseSession) effect()  {}
func (Converge) effect()      {}
func (Publish) effect()       {}
func (Persist) effect()       {}
func (Note) effect()          {}
