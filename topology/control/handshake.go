package control

import (
	"context"
	"crypto/hmac"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// The handshake, dialler on the left. Nothing a peer says is parsed before its proof was checked.
//
//	ClientHello with the knock →
//	                           ← TLS 1.3, both with certificates →
//	proof                      →
//	                           ← proof, hello
//	hello, verdict             →
//	                           ← verdict
//
// The dialler's hello says what the connection is to become: a session, or a stream if it names a binding.
// The strict turns let it run over connections that buffer nothing.

// Initiate makes a session over a connection that this node opened. It owns conn: an error closes it. Errors are *Error.
func (h *Handshaker) Initiate(ctx context.Context, conn net.Conn) (*Session, error) {
	a, err := h.open(ctx, conn, nil)
	if err != nil {
		return nil, err
	}
	return a.session(), nil
}

// open is Initiate for a session, or for a stream of the given binding.
func (h *Handshaker) open(ctx context.Context, conn net.Conn, carry *[BindingSize]byte) (*agreed, error) {
	return h.shake(ctx, conn, func(m *meter) (*agreed, error) {
		a, err := h.initiate(m, carry)
		if err != nil {
			return nil, diagnose(err, m)
		}
		return a, nil
	})
}

// Respond makes a session over a connection that this node accepted. It owns conn: an error closes it. ErrNoKnock in
// the error says that the peer is a stranger, who got no byte. Streams are refused: they are for listeners.
func (h *Handshaker) Respond(ctx context.Context, conn net.Conn) (*Session, error) {
	a, err := h.respond(ctx, conn, func() {}, func(PeerHello) error { return errors.New("no streams on this connection") })
	if err != nil {
		return nil, err
	}
	return a.session(), nil
}

// respond calls knocked once the peer has knocked, and admit if it wants a stream.
func (h *Handshaker) respond(ctx context.Context, conn net.Conn, knocked func(), admit func(PeerHello) error) (*agreed, error) {
	return h.shake(ctx, conn, func(m *meter) (*agreed, error) {
		if err := h.awaitKnock(m); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoKnock, err)
		}
		knocked()
		return h.accept(m, admit)
	})
}

// agreed is a connection whose ends want each other: it becomes a session, or a stream if the peer's Carry is set.
type agreed struct {
	conn *secured
	peer PeerHello
}

// session begins to move messages.
func (a *agreed) session() *Session {
	s := newSession(a.conn, a.peer)
	s.start()
	return s
}

// shake runs one side of the handshake within the time limit.
func (h *Handshaker) shake(ctx context.Context, conn net.Conn, side func(*meter) (*agreed, error)) (*agreed, error) {
	m := &meter{Conn: conn}
	deadline := time.Now().Add(h.config.Timeout)
	if err := conn.SetDeadline(deadline); err != nil {
		m.Close()
		return nil, asError(Unreachable, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	a, err := side(m)
	if !stop() {
		err = asError(Unreachable, context.Cause(ctx))
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		m.Close() // the raw connection: TLS would say goodbye to somebody whom we do not know
		return nil, err
	}
	m.open.Store(true)
	return a, nil
}

// awaitKnock reads a ClientHello without answering, checks the knock in it, and puts what it read back for TLS.
func (h *Handshaker) awaitKnock(m *meter) error {
	buffer := make([]byte, maxClientHello)
	for used := 0; ; {
		n, err := m.Read(buffer[used:])
		used += n
		name, parsing := serverName(buffer[:used])
		switch {
		case parsing == nil:
			nonce, ok := openKnock(name, h.keys)
			if !ok {
				return errors.New("TLS without the knock")
			}
			if !h.replays.first(nonce) {
				return errReplayed
			}
			m.head = buffer[:used]
			return nil
		case !errors.Is(parsing, errIncomplete):
			return parsing
		case err != nil:
			return err
		case used == len(buffer):
			return errNotHello
		}
	}
}

func (h *Handshaker) initiate(m *meter, carry *[BindingSize]byte) (*agreed, error) {
	config := h.tls.Clone()
	config.ServerName = newKnock(h.keys[0])
	t, err := h.secure(tls.Client(m, config), true)
	if err != nil {
		return nil, err
	}
	if _, err := t.conn.Write(h.proof(t, h.keys[0], dialler)); err != nil {
		return nil, err
	}
	var proof [exportSize]byte
	if _, err := io.ReadFull(t.conn, proof[:]); err != nil {
		return nil, err
	}
	// The same secret that we used: the acceptor has found out which.
	if !hmac.Equal(proof[:], h.proof(t, h.keys[0], acceptor)) {
		return nil, fail(Silent, "answered our knock but cannot prove the mesh secret: is somebody in between?")
	}
	own := h.config.Hello()
	var theirs helloWire
	if err := receive(t.conn, &theirs); err != nil {
		return nil, err
	}
	hello, admit := own.wire(), h.config.Admit
	if carry != nil {
		hello.Carry, admit = carry[:], knowsStreams
	}
	peer, refusal := h.judge(t, own, theirs, admit)
	peer.Carry = carry
	if err := send(t.conn, hello, verdictOf(refusal)); err != nil {
		return nil, err
	}
	if refusal != nil {
		return nil, refusal
	}
	if err := hearVerdict(t, peer.ID); err != nil {
		return nil, err
	}
	return &agreed{t, peer}, nil
}

func (h *Handshaker) accept(m *meter, stream func(PeerHello) error) (*agreed, error) {
	t, err := h.secure(tls.Server(m, h.tls), false)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	var proof [exportSize]byte
	if _, err := io.ReadFull(t.conn, proof[:]); err != nil {
		return nil, fmt.Errorf("no proof of the mesh secret: %w", err)
	}
	var used *meshKeys
	for i := range h.keys { // all of them, so that time does not tell which one fits
		if hmac.Equal(proof[:], h.proof(t, h.keys[i], dialler)) {
			used = &h.keys[i]
		}
	}
	if used == nil {
		return nil, fail(Silent, "knocked but cannot prove the mesh secret: a replayed knock, or somebody in between")
	}
	own := h.config.Hello()
	hello, err := encodeHello(own.wire())
	if err != nil {
		return nil, err
	}
	if _, err := t.conn.Write(appendFrame(h.proof(t, *used, acceptor), hello)); err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	var theirs helloWire
	if err := receive(t.conn, &theirs); err != nil {
		return nil, fmt.Errorf("hello: %w", err)
	}
	id := topology.IDOf(t.key[:])
	if err := hearVerdict(t, id); err != nil {
		return nil, err
	}
	admit := h.config.Admit
	if len(theirs.Carry) > 0 {
		admit = stream
	}
	peer, refusal := h.judge(t, own, theirs, admit)
	if err := send(t.conn, verdictOf(refusal)); err != nil {
		return nil, fmt.Errorf("verdict: %w", err)
	}
	if refusal != nil {
		return nil, refusal
	}
	return &agreed{t, peer}, nil
}

// judge decides whether we want a session, or a stream, with who said theirs. admit may be nil.
func (h *Handshaker) judge(t *secured, own LocalHello, theirs helloWire, admit func(PeerHello) error) (PeerHello, error) {
	peer, err := meet(own, h.config.Identity, t.key, theirs, h.notary)
	peer.Dialled = t.dialled
	peer.Remote = addrPort(t.meter.RemoteAddr())
	if err == nil && admit != nil {
		err = admit(peer)
	}
	if err != nil {
		refusal := *asError(Refused, err)
		refusal.Peer = peer.ID
		if refusal.Kind != Self && refusal.Kind != Duplicate {
			refusal.Kind = Refused // whatever else Admit said: 0 would mean yes to the peer
		}
		return peer, &refusal
	}
	return peer, nil
}

func (l LocalHello) wire() helloWire {
	return helloWire{
		Min: ProtocolMin, Max: ProtocolMax, Features: l.Features | FeatureStreams, Run: l.Run, Port: l.Port, Record: l.Record,
	}
}

func verdictOf(refusal error) verdict {
	if refusal == nil {
		return verdict{}
	}
	e := asError(Refused, refusal)
	return verdict{Kind: e.Kind, Reason: oneLine(e.Reason)}
}

func hearVerdict(t *secured, peer topology.NodeID) error {
	var v verdict
	if err := receive(t.conn, &v); err != nil {
		return fmt.Errorf("verdict: %w", err)
	}
	switch v.Kind {
	case 0:
		return nil
	case Self, Duplicate:
	default:
		v.Kind = Refused
	}
	return &Error{Kind: v.Kind, Peer: peer, Reason: fmt.Sprintf("refused by %s: %s", peer.Short(), oneLine(v.Reason))}
}

// send writes parts as frames, at once.
func send(w io.Writer, parts ...any) error {
	var out []byte
	for _, part := range parts {
		body, err := encodeHello(part)
		if err != nil {
			return err
		}
		out = appendFrame(out, body)
	}
	_, err := w.Write(out)
	return err
}

func receive(r io.Reader, v any) error {
	body, err := readFrame(r, maxHello)
	if err != nil {
		return err
	}
	return decodeHello(body, v)
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
