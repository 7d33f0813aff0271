package control

import (
	"crypto/tls"

	"github.com/weavewg/weavewg/topology"
)

// Labels of what both ends derive from the TLS session (RFC 8446, section 7.5; the form is RFC 9266's).
const (
	proofLabel   = "EXPORTER-weavewg-proof"
	sessionLabel = "EXPORTER-weavewg-session"
	exportSize   = 32
)

// Roles are in the proof so that it cannot be sent back to its maker.
const (
	dialler  = "dialler\x00"
	acceptor = "acceptor"
)

// secured is a TLS session whose peer holds key, and what both ends derive from it.
type secured struct {
	conn    *tls.Conn
	meter   *meter
	key     [32]byte
	dialled bool
	proof   []byte
	export  [exportSize]byte
}

func (h *Handshaker) secure(conn *tls.Conn, dialled bool) (*secured, error) {
	if err := conn.Handshake(); err != nil { // the deadline is set on the connection
		return nil, err
	}
	state := conn.ConnectionState()
	key, err := verifyPeer(state)
	if err != nil {
		return nil, err
	}
	t := &secured{conn: conn, meter: conn.NetConn().(*meter), key: key, dialled: dialled}
	if t.proof, err = state.ExportKeyingMaterial(proofLabel, nil, exportSize); err != nil {
		return nil, err
	}
	export, err := state.ExportKeyingMaterial(sessionLabel, nil, exportSize)
	if err != nil {
		return nil, err
	}
	copy(t.export[:], export)
	return t, nil
}

// proof is what the end in the given role sends to show that it holds the secret behind k. It is bound to this TLS
// session and to both identities, so nobody in between can pass it on.
func (h *Handshaker) proof(t *secured, k meshKeys, role string) []byte {
	own, peer := h.config.Identity.id, topology.IDOf(t.key[:])
	from, to := own, peer
	if t.dialled != (role == dialler) {
		from, to = peer, own
	}
	return mac(k.proof, t.proof, []byte(role), from[:], to[:])
}
