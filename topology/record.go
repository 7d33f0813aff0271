package topology

import "net/netip"

// Version orders what one node says about itself. No clock is in it: Epoch grows by one at every start of the node
// (it is persisted), Seq by one at every change. A node that hears of a version of itself that it never wrote (its
// state was restored from an old copy) moves its Epoch past that.
type Version struct {
	Epoch uint64 `cbor:"1,keyasint"`
	Seq   uint64 `cbor:"2,keyasint"`
}

// Less says whether v is older than o.
func (v Version) Less(o Version) bool {
	return v.Epoch < o.Epoch || v.Epoch == o.Epoch && v.Seq < o.Seq
}

// SlotKey is the WireGuard key statement of one slot: the record's signature makes it a promise of the identity.
type SlotKey struct {
	Slot       uint8    `cbor:"1,keyasint"` // 0 to 2
	Generation uint32   `cbor:"2,keyasint"` // grows with every new key of this slot
	Key        [32]byte `cbor:"3,keyasint"` // Curve25519 public key
	Port       uint16   `cbor:"4,keyasint"` // UDP port that the slot listens on
}

// NetworkRef says that the node is a member of a network.
type NetworkRef struct {
	Name string `cbor:"1,keyasint"`
	VNI  uint32 `cbor:"2,keyasint"` // 24 bits, RFC 7348
}

// Edge is one control session as one of its ends sees it. It counts only when the other end says the same.
type Edge struct {
	Peer NodeID `cbor:"1,keyasint"`
	Cost uint8  `cbor:"2,keyasint"` // power-of-two class of the round-trip time: see CostOf
}

// Endpoint is an underlay address at which a slot of this node was seen by a peer through an authenticated tunnel.
type Endpoint struct {
	Slot uint8          `cbor:"1,keyasint"`
	Addr netip.AddrPort `cbor:"2,keyasint"`
}

// Record is what one node says about itself. It is signed by its identity, at most MaxRecord bytes long, and replaced
// whole by a record of a higher Version.
type Record struct {
	Key      [32]byte     `cbor:"1,keyasint"` // Ed25519 identity key; ID is derived from it
	Version  Version      `cbor:"2,keyasint"`
	Run      [8]byte      `cbor:"3,keyasint"` // random per start of the daemon; tells a clone from a restart
	Name     string       `cbor:"4,keyasint"`
	Software string       `cbor:"5,keyasint"`
	Features uint64       `cbor:"6,keyasint"`           // bit set, see Feature…
	Port     uint16       `cbor:"7,keyasint"`           // TCP control port
	Addrs    []netip.Addr `cbor:"8,keyasint,omitempty"` // where others may try: advertised first, then interfaces
	Seen     []Endpoint   `cbor:"9,keyasint,omitempty"` // what peers observed of us
	Slots    []SlotKey    `cbor:"10,keyasint,omitempty"`
	Networks []NetworkRef `cbor:"11,keyasint,omitempty"`
	MTU      uint16       `cbor:"12,keyasint"` // bytes that one WireGuard payload packet may have here (underlay MTU less 60 or 80)
	Edges    []Edge       `cbor:"13,keyasint,omitempty"`
	Left     bool         `cbor:"14,keyasint,omitempty"` // the node was shut down on purpose
}

// ID returns the id of the node that the record is about.
func (r *Record) ID() NodeID { return IDOf(r.Key[:]) }

// Sealed is a record as it travels: the deterministic CBOR of a Record, the identity's signature over it, and the
// proof that whoever admitted the identity holds the mesh secret. It is forwarded byte for byte.
type Sealed struct {
	Body  []byte `cbor:"1,keyasint"`
	Sig   []byte `cbor:"2,keyasint"`
	Proof []byte `cbor:"3,keyasint"`
}

// Limits that every parser enforces before it allocates.
const (
	MaxRecord     = 2048  // bytes of Sealed.Body
	MaxMessage    = 64000 // bytes of one encoded Message
	MaxNeighbours = 16    // control sessions that a node keeps, and so edges of a record
	MaxSlots      = 3
	MaxNetworks   = 32
	MaxAddrs      = 12
	MaxSeen       = 12
	MaxName       = 63 // bytes of a node's or network's name
)

// Notary seals our own records and opens those of others. The real one (topology/control) holds the identity and the
// secrets; simulations may use a cheap one.
type Notary interface {
	// Seal signs r, whose Key must be the notary's own.
	Seal(r *Record) (Sealed, error)
	// Open checks proof and signature, then decodes and validates. The error says which check failed.
	Open(s Sealed) (*Record, error)
}
