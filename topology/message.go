package topology

// Message is what control sessions carry after the handshake, one CBOR map a message, exactly one field set.
// The keys are forever: only append. An unknown key is ignored, so that newer nodes can talk to older ones.
type Message struct {
	Digest  *Digest  `cbor:"1,keyasint,omitempty"`
	Records []Sealed `cbor:"2,keyasint,omitempty"` // news: forwarded only if they are news to the receiver too
	Seen    *Seen    `cbor:"3,keyasint,omitempty"`
	PSK     *PSKStep `cbor:"4,keyasint,omitempty"`
	Routed  *Routed  `cbor:"5,keyasint,omitempty"`
	Ping    *Ping    `cbor:"6,keyasint,omitempty"`
	Pong    *Ping    `cbor:"7,keyasint,omitempty"`
	Forget  *Forget  `cbor:"8,keyasint,omitempty"`
	Bye     *Bye     `cbor:"9,keyasint,omitempty"`
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

// PSKStep is one step of agreeing on a link's pre-shared key: the leader (lower id) prepares, the follower installs and
// confirms, the leader installs and says that it applied. The key itself never travels: both derive it from the
// session's exporter and the epoch.
type PSKStep struct {
	Epoch  uint64     `cbor:"1,keyasint"`
	Phase  PSKPhase   `cbor:"2,keyasint"`
	Tunnel TunnelPair `cbor:"3,keyasint"`
}

// PSKPhase numbers the steps. Only append.
type PSKPhase uint8

// The phases, in order.
const (
	PSKPrepare PSKPhase = 1
	PSKConfirm PSKPhase = 2
	PSKApplied PSKPhase = 3
	PSKWanted  PSKPhase = 4 // follower to leader: it holds no key for this tunnel, begin anew; the epoch says nothing
)

// TunnelPair names the two WireGuard keys between which a tunnel runs, from the sender's side.
type TunnelPair struct {
	MySlot   uint8    `cbor:"1,keyasint"`
	MyKey    [32]byte `cbor:"2,keyasint"`
	YourSlot uint8    `cbor:"3,keyasint"`
	YourKey  [32]byte `cbor:"4,keyasint"`
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
