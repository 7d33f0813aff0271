package topology

import "net/netip"

// Message is what control sessions carry after the handshake, one CBOR map a message, exactly one field set.
// The keys are forever: only append. An unknown key is ignored, so that newer nodes can talk to older ones.
type Message struct {
	Digest  *Digest    `cbor:"1,keyasint,omitempty"`
	Records []Sealed   `cbor:"2,keyasint,omitempty"` // news: forwarded only if they are news to the receiver too
	Seen    *Seen      `cbor:"3,keyasint,omitempty"`
	Link    *LinkState `cbor:"4,keyasint,omitempty"`
	Routed  *Routed    `cbor:"5,keyasint,omitempty"`
	Ping    *Ping      `cbor:"6,keyasint,omitempty"`
	Pong    *Ping      `cbor:"7,keyasint,omitempty"`
	Forget  *Forget    `cbor:"8,keyasint,omitempty"`
	Bye     *Bye       `cbor:"9,keyasint,omitempty"`
	Bind    *Bind      `cbor:"10,keyasint,omitempty"`
	Bound   *Bound     `cbor:"11,keyasint,omitempty"`
	Unbind  *Unbind    `cbor:"12,keyasint,omitempty"`
}

// Digest lists what the sender knows; the receiver answers with the records that are newer at its side, and asks for
// nothing: its own digest does that. Last marks the final part of a list that took several messages: a receiver
// sends what is wholly missing from the list only after Last.
type Digest struct {
	Known []Known `cbor:"1,keyasint,omitempty"`
	Last  bool    `cbor:"2,keyasint,omitempty"`
}

// Known is one line of a Digest.
type Known struct {
	ID      NodeID  `cbor:"1,keyasint"`
	Version Version `cbor:"2,keyasint"`
	Hash    uint64  `cbor:"3,keyasint"` // of the record, so that two of one version are noticed
}

// Seen tells the receiver at which underlay endpoint its slot was observed, read from an authenticated tunnel.
type Seen struct{ Endpoint }

// LinkState is what one end of a link says to the other about its tunnels. The end with the lower id leads: what it says
// is a plan, and the other end makes it so and answers with a report. Each message is the whole state, so a lost or
// repeated one does no harm, and a new session begins with the follower's report. No key but public ones travels.
type LinkState struct {
	Rev     uint64        `cbor:"1,keyasint"` // number of the plan; in a report that of the plan it has seen last, 0: none in this session
	Tunnels []TunnelState `cbor:"2,keyasint,omitempty"`
	Use     uint8         `cbor:"3,keyasint,omitempty"` // 1 + index of the tunnel that carries (report) or should (plan); 0: none
	Wants   uint8         `cbor:"4,keyasint,omitempty"` // of a report: see Want…
	Why     string        `cbor:"5,keyasint,omitempty"` // of a report: why a planned tunnel is missing in it
}

// What a follower asks of the leader.
const (
	WantTunnel uint8 = 1 << iota // nothing comes through the tunnel in use: another one
	WantRenew                    // the slot of the tunnel in use gets a new key: another one on another slot
)

// TunnelState is one tunnel as one end has it. A tunnel is known by the leader's key: the leader's slots are all different
// within a link.
type TunnelState struct {
	Slot      uint8            `cbor:"1,keyasint"` // the sender's
	Key       [32]byte         `cbor:"2,keyasint"` // the sender's; all zero: it has not chosen yet
	Port      uint16           `cbor:"3,keyasint"` // UDP port of the sender's slot
	PeerKey   [32]byte         `cbor:"4,keyasint"` // the receiver's; all zero in a plan: choose a slot
	Stage     TunnelStage      `cbor:"5,keyasint"`
	Epoch     uint64           `cbor:"6,keyasint,omitempty"` // of the pre-shared key: to install (plan), installed (report); 0: not known
	Check     [8]byte          `cbor:"7,keyasint"`           // which key the sender has in place, by a hash of it; all zero: none
	Path      Path             `cbor:"8,keyasint"`
	Endpoints []netip.AddrPort `cbor:"9,keyasint,omitempty"` // where the sender's slot may be reached, best first
}

// TunnelStage says how far a tunnel is at one end. The order matters.
type TunnelStage uint8

// The stages.
const (
	StageSearch TunnelStage = iota + 1 // the way is being looked for: no WireGuard peer yet
	StageReady                         // this end has found the way: its part of the path stands
	StageBuilt                         // the WireGuard peer is in place
	StageAlive                         // a handshake succeeded and the session can carry data
	StageDead                          // it was alive, and nothing comes through any more
)

// String gives the word used in logs.
func (s TunnelStage) String() string {
	words := [...]string{"new", "search", "ready", "built", "alive", "dead"}
	if int(s) < len(words) {
		return words[s]
	}
	return "unknown"
}

// PathKind says how a tunnel's packets travel.
type PathKind uint8

// The kinds.
const (
	PathDirect PathKind = iota + 1
	PathRelay           // by a binding of relays, over UDP
)

// Path is the way of a tunnel's packets.
type Path struct {
	Kind    PathKind `cbor:"1,keyasint"`
	Binding [16]byte `cbor:"2,keyasint"`           // of a relayed path
	Via     []NodeID `cbor:"3,keyasint,omitempty"` // the relays, from the leader's end
	Stream  bool     `cbor:"4,keyasint,omitempty"` // the sender's way to its first relay is a TLS stream
}

// MaxVia is how many relays a path may have.
const MaxVia = 8

// MaxEndpoints bounds the endpoints of one tunnel in a message.
const MaxEndpoints = 12

// Bind asks the relays of a path, one after the other, to forward between the tunnel's two keys, and tells the far end of
// it. Repeated with the same id it prolongs. It travels over sessions of neighbours only.
type Bind struct {
	ID   [16]byte    `cbor:"1,keyasint"`
	Ends [2]NodeID   `cbor:"2,keyasint"` // who asks, and the far end
	Keys [2][32]byte `cbor:"3,keyasint"` // of the slots at these ends
	Via  []NodeID    `cbor:"4,keyasint"`
	At   uint8       `cbor:"5,keyasint"` // index in Via of who receives it; len(Via): the far end
}

// Bound answers a Bind on the same way back, and takes a binding down at any time: Why says why it does not stand.
type Bound struct {
	ID  [16]byte `cbor:"1,keyasint"`
	Why string   `cbor:"2,keyasint,omitempty"` // "": it stands as far as the far end
}

// Unbind takes a binding down along its path.
type Unbind struct {
	ID [16]byte `cbor:"1,keyasint"`
}

// Routed carries a piece of a byte stream between two nodes that have no session of their own. What is inside is TLS
// between these two: neighbours on the way forward ciphertext. Hops falls by one at each; at zero it is dropped.
type Routed struct {
	From   NodeID `cbor:"1,keyasint"`
	To     NodeID `cbor:"2,keyasint"`
	Stream uint64 `cbor:"3,keyasint"`           // chosen at random by the opener
	Opener bool   `cbor:"4,keyasint,omitempty"` // the piece comes from the side that opened the stream
	Seq    uint64 `cbor:"5,keyasint"`           // from 0, per direction; a gap ends the stream
	Data   []byte `cbor:"6,keyasint,omitempty"`
	Fin    bool   `cbor:"7,keyasint,omitempty"` // no more; with Opener false and Seq 0 also: refused
	Hops   uint8  `cbor:"8,keyasint"`
}

// MaxHops bounds the way of a Routed message.
const MaxHops = 32

// Ping measures a session and carries a hash of what the sender knows, so that views which drifted apart are noticed.
type Ping struct {
	Nonce uint64 `cbor:"1,keyasint"`
	Graph uint64 `cbor:"2,keyasint"` // Graph.Hash of the sender
}

// Forget asks everybody to drop the record of an absent node. Records of a version up to Floor stay out.
type Forget struct {
	Node  NodeID  `cbor:"1,keyasint"`
	Floor Version `cbor:"2,keyasint"`
}

// Bye is the last message of a session that is closed on purpose.
type Bye struct {
	Reason string `cbor:"1,keyasint"`
	Full   bool   `cbor:"2,keyasint,omitempty"` // too many neighbours: you know others now, keep those
}
