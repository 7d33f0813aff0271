package wgmesh

import (
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// SessionID names a control session between the edge and the core; never zero, never used twice in a run.
type SessionID uint64

// Event is something that happened outside the core. Core.Step turns it into Effects.
type Event interface{ event() }

type (
	// Tick lets time pass: send it at the time that Core.Next names, or earlier.
	Tick struct{}

	// SessionUp means: the handshake of a control session succeeded at this end. The peer's own record came with its hello.
	SessionUp struct {
		ID      SessionID
		Peer    topology.NodeID
		Record  topology.Sealed
		Dialled bool           // by us
		Target  string         // what was dialled, as in Dial; "" if accepted
		Remote  netip.AddrPort // underlay address of the peer; zero for a routed session
		Local   netip.AddrPort // our end of the connection; zero for a routed session
		Routed  bool           // carried by neighbours instead of TCP of its own
		Export  [32]byte       // the same at both ends (RFC 9266 style exporter); keys PSKs
	}
	// SessionDown means: an established session ended.
	SessionDown struct {
		ID     SessionID
		Reason string
	}
	// DialFailed means: a Dial or OpenRouted did not become a session.
	DialFailed struct {
		Target string          // as in Dial; "" for OpenRouted
		Peer   topology.NodeID // as in OpenRouted, or who answered if that is known
		Kind   DialError
		Reason string // one line for people
	}
	// Received means: a message arrived on a session.
	Received struct {
		ID      SessionID
		Message topology.Message
	}
	// RoutedOut means: an end of a routed stream at this node has a piece to send.
	RoutedOut struct{ Piece topology.Routed }

	// Observed means: what the device looks like now; follows every Converge, and comes at least once a second while links are
	// being built, else every few seconds.
	Observed struct {
		Status DeviceStatus
		// Applied is the generation of the last Converge that was applied without error.
		Applied uint64
		Err     string // why the last one was not
	}
	// Probed means: the answer to a probe inside a link's tunnel, or that it did not come in time.
	Probed struct {
		Peer topology.NodeID
		Seq  uint16
		RTT  time.Duration // 0: lost
	}

	// Configured means: settings changed by reload.
	Configured struct{ Settings Settings }
	// Connect adds targets that persist.
	Connect struct{ Targets []string }
	// ForgetTargets drops targets that Connect added.
	ForgetTargets struct{ Targets []string }
	// ForgetNode drops an absent node from the mesh.
	ForgetNode struct{ Node topology.NodeID }
	// AddressesChanged means: the host's own underlay addresses, best first, and the largest WireGuard payload they allow.
	AddressesChanged struct {
		Addrs []netip.Addr
		MTU   uint16
	}
	// Leave means: the node is being taken down on purpose (weavewg down): say so and close.
	Leave struct{}
)

// DialError classifies why a dial failed, as far as the core must know.
type DialError uint8

// The classes.
const (
	DialUnreachable DialError = iota + 1 // no TCP connection
	DialSilent                           // closed without an answer: other mesh name or secret?
	DialRefused                          // authenticated, then refused: the reason says why
	DialSelf                             // it is this very node
	DialDuplicate                        // another node claims our identity
)

func (Tick) event()             {}
func (SessionUp) event()        {}
func (SessionDown) event()      {}
func (DialFailed) event()       {}
func (Received) event()         {}
func (RoutedOut) event()        {}
func (Observed) event()         {}
func (Probed) event()           {}
func (Configured) event()       {}
func (Connect) event()          {}
func (ForgetTargets) event()    {}
func (ForgetNode) event()       {}
func (AddressesChanged) event() {}
func (Leave) event()            {}
