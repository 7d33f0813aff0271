package wgmesh

import (
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/scout"
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
	// Scout sends a request from the UDP port of a slot to several addresses. Answer: ScoutAnswered, or nothing.
	Scout struct {
		Port    uint16
		To      []netip.AddrPort
		Key     scout.Key
		Message scout.Message
	}
	// Listen replaces the keys by which requests at the slots' ports are answered.
	Listen struct{ Keys []scout.Key }
	// Relay makes the relay forward between two legs, or prolongs that.
	Relay struct {
		ID      [16]byte
		Owner   topology.NodeID
		Legs    [2]RelayLeg
		Expires time.Time
	}
	// RelayEnd ends a Relay.
	RelayEnd struct{ ID [16]byte }
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
	// Probe lists the links in use.
	Probe []Probe
}

// Probe asks for echo requests to a member at a pace.
type Probe struct {
	Member
	Every time.Duration
}

// ProbeTimeout is when a probe that is not answered counts as lost.
const ProbeTimeout = 2 * time.Second

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
func (Scout) effect()         {}
func (Listen) effect()        {}
func (Relay) effect()         {}
func (RelayEnd) effect()      {}
func (Note) effect()          {}
