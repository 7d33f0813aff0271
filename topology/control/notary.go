package control

import (
	"crypto/ed25519"
	"crypto/hmac"
	"errors"
	"fmt"
	"slices"

	"github.com/weavewg/weavewg/topology"
)

// notary seals and opens records with real keys.
type notary struct {
	identity *Identity
	mesh     string
	keys     []meshKeys
}

// NewNotary returns the Notary of a node of a mesh. It may be used from several goroutines.
func NewNotary(identity *Identity, mesh string, secrets *Secrets) (topology.Notary, error) {
	keys, err := secrets.derive(mesh)
	if err != nil {
		return nil, err
	}
	return &notary{identity: identity, mesh: mesh, keys: keys}, nil
}

// A membership proof is a list of MACs over the identity key, one for each of the first secrets of who made it, so that
// nodes can change the order of their secrets one after the other. Its whole fits the codec's limit of 64 bytes.
const (
	vouchSize  = 16
	maxVouches = 4
)

// Seal signs r and vouches for the identity with the first four secrets.
func (n *notary) Seal(r *topology.Record) (topology.Sealed, error) {
	if r.Key != n.identity.public {
		return topology.Sealed{}, fmt.Errorf("seal the record of %s: only %s can", r.ID(), n.identity.id)
	}
	body, err := topology.EncodeRecord(r)
	if err != nil {
		return topology.Sealed{}, fmt.Errorf("seal: %w", err)
	}
	return topology.Sealed{
		Body:  body,
		Sig:   ed25519.Sign(n.identity.private, topology.SealBytes(n.mesh, body)),
		Proof: n.vouch(r.Key),
	}, nil
}

// Open returns the record in s if a holder of one of our secrets vouches for its identity and that identity signed it.
func (n *notary) Open(s topology.Sealed) (*topology.Record, error) {
	switch {
	case len(s.Body) == 0 || len(s.Body) > topology.MaxRecord:
		return nil, fmt.Errorf("record of %d bytes, want 1 to %d", len(s.Body), topology.MaxRecord)
	case len(s.Sig) != ed25519.SignatureSize:
		return nil, fmt.Errorf("signature of %d bytes, want %d", len(s.Sig), ed25519.SignatureSize)
	case len(s.Proof) == 0 || len(s.Proof)%vouchSize != 0 || len(s.Proof) > maxVouches*vouchSize:
		return nil, fmt.Errorf("membership proof of %d bytes, want 1 to %d times %d", len(s.Proof), maxVouches, vouchSize)
	}
	// The key that proof and signature are checked against is inside, so the (bounded, allocation-limited) decoder runs
	// first; nothing of its result leaves before both checks.
	r, err := topology.DecodeRecord(s.Body)
	if err != nil {
		return nil, err
	}
	vouched := false
	for _, k := range n.keys { // all of them, so that time does not tell which one fits
		want := memberMAC(k, n.mesh, r.Key)
		for proof := range slices.Chunk(s.Proof, vouchSize) {
			if hmac.Equal(proof, want) {
				vouched = true
			}
		}
	}
	if !vouched {
		return nil, fmt.Errorf("record of %s: nobody with our secret vouches for it", r.ID())
	}
	if !ed25519.Verify(r.Key[:], topology.SealBytes(n.mesh, s.Body), s.Sig) {
		return nil, fmt.Errorf("record of %s: %w", r.ID(), errBadSignature)
	}
	return r, nil
}

var errBadSignature = errors.New("bad signature")

func (n *notary) vouch(key [32]byte) []byte {
	var proof []byte
	for _, k := range n.keys[:min(len(n.keys), maxVouches)] {
		proof = append(proof, memberMAC(k, n.mesh, key)...)
	}
	return proof
}

func memberMAC(k meshKeys, mesh string, key [32]byte) []byte {
	return mac(k.member, key[:], []byte(mesh))[:vouchSize]
}
