package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"

	"github.com/weavewg/weavewg/topology"
)

// maxIdentityFile bounds an identity file; a real one has about 120 bytes.
const maxIdentityFile = 4096

// Identity is a node's Ed25519 key. It never leaves the package, and prints as its id.
type Identity struct {
	private ed25519.PrivateKey
	public  [32]byte
	id      topology.NodeID
}

// GenerateIdentity makes an identity that no file holds.
func GenerateIdentity() (*Identity, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an identity: %w", err)
	}
	return newIdentity(private), nil
}

// CreateIdentity makes an identity and stores it at path: PEM, PKCS #8, mode 0600. A file that is there already is
// left as it is, whatever is in it, and the error is fs.ErrExist.
func CreateIdentity(path string) (*Identity, error) {
	identity, err := GenerateIdentity()
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(identity.private)
	if err != nil {
		return nil, fmt.Errorf("encode an identity: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := createPrivate(path, text); err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	return identity, nil
}

// LoadIdentity reads what CreateIdentity stored. A file that is missing is fs.ErrNotExist; one that others may read,
// or that is not an Ed25519 key, is refused in one line and never changed.
func LoadIdentity(path string) (*Identity, error) {
	data, err := readPrivate(path, maxIdentityFile)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	identity, err := parseIdentity(data)
	if err != nil {
		return nil, fmt.Errorf("identity: %s: %w; restore it from a backup, or remove it to become a new node", path, err)
	}
	return identity, nil
}

func parseIdentity(data []byte) (*Identity, error) {
	block, rest := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, fmt.Errorf("holds no PEM block PRIVATE KEY")
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("has %d bytes after the key", len(rest))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("damaged key")
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("holds a %T, need an Ed25519 key", key)
	}
	return newIdentity(private), nil
}

func newIdentity(private ed25519.PrivateKey) *Identity {
	i := &Identity{private: private}
	copy(i.public[:], private.Public().(ed25519.PublicKey))
	i.id = topology.IDOf(i.public[:])
	return i
}

// ID returns the id of the node that holds this identity.
func (i *Identity) ID() topology.NodeID { return i.id }

// Public returns the public key.
func (i *Identity) Public() [32]byte { return i.public }

// String returns the id.
func (i Identity) String() string { return "identity of " + i.id.String() }

// Format keeps every verb, %#v included, from printing the private key.
func (i Identity) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, i.String()) }

// MarshalText keeps the private key out of JSON and logs.
func (i Identity) MarshalText() ([]byte, error) { return []byte(i.String()), nil }
