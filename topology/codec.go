package topology

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// What one decoded value may hold at most, before any field is looked at. The list of a Digest is the longest array.
const (
	maxElements = 4096
	maxPairs    = 64
	maxDepth    = 8
)

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())
	decMode = must(cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		MaxNestedLevels:  maxDepth,
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxPairs,
	}.DecMode())
)

// must is for the two modes above, whose options are constants that a test runs through.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// MarshalBinary makes the id a byte string in CBOR.
func (id NodeID) MarshalBinary() ([]byte, error) { return id[:], nil }

// UnmarshalBinary takes exactly 16 bytes.
func (id *NodeID) UnmarshalBinary(b []byte) error {
	if len(b) != len(id) {
		return fmt.Errorf("node id of %d bytes, want %d", len(b), len(id))
	}
	copy(id[:], b)
	return nil
}

// EncodeMessage returns the core deterministic CBOR (RFC 8949, section 4.2.1) of m, which must have exactly one field
// set, within its limits.
func EncodeMessage(m Message) ([]byte, error) {
	if n := m.fields(); n != 1 {
		return nil, fmt.Errorf("message has %d fields set, want 1", n)
	}
	if err := m.validate(); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	b, err := encMode.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("message of %d bytes, at most %d fit", len(b), MaxMessage)
	}
	return b, nil
}

// DecodeMessage is the inverse of EncodeMessage. A message that has only keys unknown to this version comes back empty
// and without an error: it is to be ignored. Any error means that the sender breaks the protocol.
func DecodeMessage(b []byte) (Message, error) {
	if len(b) > MaxMessage {
		return Message{}, fmt.Errorf("message of %d bytes, at most %d are taken", len(b), MaxMessage)
	}
	var m Message
	if err := decode(b, &m); err != nil {
		return Message{}, fmt.Errorf("message: %w", err)
	}
	if n := m.fields(); n > 1 {
		return Message{}, fmt.Errorf("message has %d fields set, want 1", n)
	}
	if err := m.validate(); err != nil {
		return Message{}, fmt.Errorf("message: %w", err)
	}
	return m, nil
}

// EncodeRecord returns the bytes that become Sealed.Body. The record must be valid.
func EncodeRecord(r *Record) ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	b, err := encMode.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("record of %d bytes, at most %d fit", len(b), MaxRecord)
	}
	return b, nil
}

// DecodeRecord is the inverse of EncodeRecord: what it returns is valid, but nothing is said about who wrote it. Keys
// of newer versions are skipped.
func DecodeRecord(b []byte) (*Record, error) {
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("record of %d bytes, at most %d are taken", len(b), MaxRecord)
	}
	r := new(Record)
	if err := decode(b, r); err != nil {
		return nil, fmt.Errorf("record: %w", err)
	}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	return r, nil
}

// decode reads one value into v and refuses what a lenient decoder would mend: see canonical.
func decode(b []byte, v any) error {
	if len(b) == 0 || b[0]>>5 != majorMap {
		return errors.New("not a CBOR map")
	}
	if err := decMode.Unmarshal(b, v); err != nil {
		return err
	}
	again, err := encMode.Marshal(v)
	if err != nil {
		return err
	}
	return canonical(b, again)
}

// SealBytes returns the bytes that an identity signs to seal body for a mesh: a domain, the mesh's name with its
// length, so that no other mesh, message or protocol can yield the same bytes, and the body.
func SealBytes(mesh string, body []byte) []byte {
	const domain = "weavewg record v1\x00"
	b := make([]byte, 0, len(domain)+4+len(mesh)+len(body))
	b = append(b, domain...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(mesh)))
	b = append(b, mesh...)
	return append(b, body...)
}
