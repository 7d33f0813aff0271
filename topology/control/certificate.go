package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// alpn names the protocol inside TLS.
const alpn = "weavewg/1"

// maxCertificate bounds a peer's certificate; ours has about 300 bytes.
const maxCertificate = 16 << 10

// certificate wraps the identity for TLS, which knows no bare keys in the standard library. Nothing in it but the key
// means anything: no date (nodes need not agree on the time), no name.
func (i *Identity) certificate() (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "weavewg"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // "no expiry", RFC 5280, section 4.1.2.5
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, i.private.Public(), i.private)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: i.private}, nil
}

// tlsConfig is the same at both ends, except that a dialler sets ServerName to its knock.
func tlsConfig(own tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		CurvePreferences:       []tls.CurveID{tls.X25519MLKEM768},
		Certificates:           []tls.Certificate{own},
		NextProtos:             []string{alpn},
		SessionTicketsDisabled: true,
		ClientAuth:             tls.RequireAnyClientCert,
		InsecureSkipVerify:     true, //nolint:gosec // no authority signs identities: verifyPeer decides, then the proofs
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := verifyPeer(cs)
			return err
		},
	}
}

// verifyPeer is the one place that judges what TLS agreed on. It returns the identity key that the peer has proved to
// hold (TLS checked its signature over the handshake); whether it belongs to the mesh is the proof's business.
func verifyPeer(cs tls.ConnectionState) (key [32]byte, err error) {
	switch {
	case cs.Version != tls.VersionTLS13:
		return key, fmt.Errorf("%s, want TLS 1.3", tls.VersionName(cs.Version))
	case cs.CurveID != tls.X25519MLKEM768:
		return key, fmt.Errorf("key exchange %s, want X25519MLKEM768", cs.CurveID)
	case cs.NegotiatedProtocol != alpn:
		return key, fmt.Errorf("protocol %q, want %q", cs.NegotiatedProtocol, alpn)
	case cs.DidResume:
		return key, errors.New("resumed session")
	case len(cs.PeerCertificates) != 1:
		return key, fmt.Errorf("%d certificates, want 1", len(cs.PeerCertificates))
	}
	peer := cs.PeerCertificates[0]
	if len(peer.Raw) > maxCertificate {
		return key, fmt.Errorf("certificate of %d bytes, at most %d", len(peer.Raw), maxCertificate)
	}
	public, ok := peer.PublicKey.(ed25519.PublicKey)
	if !ok || len(public) != len(key) {
		return key, fmt.Errorf("certificate with a %s key, want Ed25519", peer.PublicKeyAlgorithm)
	}
	copy(key[:], public)
	return key, nil
}
