package control

import (
	"crypto/tls"
	"errors"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/topology"
)

// HandshakeTimeout is how long a handshake may take in all, from the accepted or dialled connection on.
const HandshakeTimeout = 5 * time.Second

// Config says who this node is and whom it wants sessions with.
type Config struct {
	Mesh     string
	Identity *Identity
	Secrets  *Secrets
	// Hello is asked at every handshake.
	Hello func() LocalHello
	// Admit is asked about sessions, at both ends when a peer has shown who it is, and changes nothing: the session may still fail. An
	// error is told to the peer; if it is an *Error its Kind travels too. Nil admits everybody in the mesh.
	Admit func(PeerHello) error
	// AdmitStream is asked instead of Admit when a peer wants a stream of us: PeerHello.Carry says for which binding. Nil
	// refuses all of them.
	AdmitStream func(PeerHello) error
	// Proxy says through which HTTP proxy a target is dialled; a nil URL, or no Proxy, means directly.
	Proxy func(target string) (*url.URL, error)
	// Logger hears of accepted connections that knocked and then failed. Strangers are only counted.
	Logger *zap.Logger
	// Timeout replaces HandshakeTimeout.
	Timeout time.Duration
}

// Handshaker makes sessions out of connections. It may be used from several goroutines.
type Handshaker struct {
	config  Config
	keys    []meshKeys
	tls     *tls.Config
	notary  topology.Notary
	replays *replays
}

// replaysKept is how many knocks are remembered at least, 16 bytes each.
const replaysKept = 8192

// NewHandshaker prepares keys and certificate.
func NewHandshaker(c Config) (*Handshaker, error) {
	if c.Identity == nil || c.Secrets == nil || c.Hello == nil {
		return nil, errors.New("control: identity, secrets and hello are needed")
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.Timeout == 0 {
		c.Timeout = HandshakeTimeout
	}
	keys, err := c.Secrets.derive(c.Mesh)
	if err != nil {
		return nil, err
	}
	own, err := c.Identity.certificate()
	if err != nil {
		return nil, err
	}
	return &Handshaker{
		config: c, keys: keys, tls: tlsConfig(own), replays: newReplays(replaysKept),
		notary: &notary{identity: c.Identity, mesh: c.Mesh, keys: keys},
	}, nil
}
