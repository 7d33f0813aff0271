package control

import (
	"fmt"
	"net/netip"

	"github.com/fxamacker/cbor/v2"

	"github.com/weavewg/weavewg/topology"
)

// Versions of the protocol that runs on sessions, which this program speaks.
const (
	ProtocolMin = 1
	ProtocolMax = 1
)

// FeatureStreams is the bit of a hello's features that says: the node knows what a binding in a hello means. Whether it
// takes the stream, its verdict says. A node without the bit would make a session of it.
const FeatureStreams uint64 = 1 << 0

// maxHello bounds an encoded hello or verdict: a sealed record and little else.
const maxHello = topology.MaxRecord + 1024

// LocalHello is what a node says about itself when a session begins.
type LocalHello struct {
	Run      [8]byte         // random per start of the daemon, as in the record
	Port     uint16          // TCP port that it listens on
	Features uint64          // FeatureStreams comes by itself
	Record   topology.Sealed // its own record
}

// PeerHello is what the peer said, checked: Sealed was opened, and its key is the one that TLS authenticated.
type PeerHello struct {
	ID       topology.NodeID
	Protocol uint16 // the version that both speak
	Run      [8]byte
	Port     uint16
	Features uint64
	Record   *topology.Record
	Sealed   topology.Sealed
	Remote   netip.AddrPort     // zero if routed
	Dialled  bool               // by us
	Carry    *[BindingSize]byte // what a stream is for; nil for a session
}

// helloWire is LocalHello as it travels. The keys are forever: only append; unknown ones are ignored.
type helloWire struct {
	Min      uint16          `cbor:"1,keyasint"`
	Max      uint16          `cbor:"2,keyasint"`
	Features uint64          `cbor:"3,keyasint"`
	Run      [8]byte         `cbor:"4,keyasint"`
	Port     uint16          `cbor:"5,keyasint"`
	Record   topology.Sealed `cbor:"6,keyasint"`
	Carry    []byte          `cbor:"7,keyasint,omitempty"` // of the dialler: it wants a stream, for this binding
}

// verdict ends a handshake: each end says whether it wants the session.
type verdict struct {
	Kind   Kind   `cbor:"1,keyasint"` // 0: yes
	Reason string `cbor:"2,keyasint,omitempty"`
}

func encodeHello(v any) ([]byte, error) {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		return nil, fmt.Errorf("encode hello: %w", err)
	}
	b, err := mode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode hello: %w", err)
	}
	if len(b) > maxHello {
		return nil, fmt.Errorf("hello of %d bytes, at most %d fit", len(b), maxHello)
	}
	return b, nil
}

func decodeHello(b []byte, v any) error {
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  8,
		MaxArrayElements: 64,
		MaxMapPairs:      64,
	}.DecMode()
	if err != nil {
		return fmt.Errorf("decode hello: %w", err)
	}
	if err := mode.Unmarshal(b, v); err != nil {
		return &frameError{"hello: " + oneLine(err.Error())}
	}
	return nil
}

// meet judges a peer's hello. key is the identity that TLS authenticated. An Error of kind Refused, Self or Duplicate is
// what the peer should hear too.
func meet(own LocalHello, self *Identity, key [32]byte, h helloWire, notary topology.Notary) (PeerHello, error) {
	p := PeerHello{
		ID: topology.IDOf(key[:]), Run: h.Run, Port: h.Port, Features: h.Features, Sealed: h.Record,
		Protocol: min(h.Max, ProtocolMax),
	}
	if key == self.public && h.Run == own.Run {
		return p, fail(Self, "connected to self")
	}
	if key == self.public {
		return p, fail(Duplicate, "duplicate identity %s: another node runs with a copy of this one's state", p.ID.Short())
	}
	if h.Min > h.Max || p.Protocol < max(h.Min, ProtocolMin) {
		return p, fail(Refused, "protocol versions %d to %d meet %d to %d: no common one, upgrade the older node",
			h.Min, h.Max, ProtocolMin, ProtocolMax)
	}
	record, err := notary.Open(h.Record)
	if err != nil {
		return p, fail(Refused, "hello: %w", err)
	}
	if record.Key != key {
		return p, fail(Refused, "hello of %s carries the record of %s", p.ID.Short(), record.ID().Short())
	}
	if record.Run != h.Run {
		return p, fail(Refused, "hello of %s carries the record of another run", p.ID.Short())
	}
	p.Record = record
	switch len(h.Carry) {
	case 0:
	case BindingSize:
		p.Carry = (*[BindingSize]byte)(h.Carry)
	default:
		return p, fail(Refused, "hello of %s names a binding of %d bytes, want %d", p.ID.Short(), len(h.Carry), BindingSize)
	}
	return p, nil
}
