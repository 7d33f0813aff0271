package control

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/topology"
)

// BindingSize is the length of what a stream is for: the id of a relay's binding, in bytes.
const BindingSize = 16

// Stream is an authenticated connection to a peer whose bytes mean nothing here: tunnels are carried in it where UDP does
// not pass. Reads, writes and deadlines are those of crypto/tls. Whoever got it must Close it.
type Stream struct {
	net.Conn
	Peer    topology.NodeID
	Hello   PeerHello
	Binding [BindingSize]byte
	Remote  netip.AddrPort // zero if dialled through a proxy
	Dialled bool           // by us

	meter *meter
}

// stream turns the connection into a stream.
func (a *agreed) stream() *Stream {
	hastenTCP(a.conn.conn)
	return &Stream{
		Conn: a.conn.conn, Peer: a.peer.ID, Hello: a.peer, Binding: *a.peer.Carry, Remote: a.peer.Remote, Dialled: a.peer.Dialled,
		meter: a.conn.meter,
	}
}

// Close closes the connection at once: TLS would try to say goodbye, for up to five seconds if the peer takes nothing.
func (s *Stream) Close() error { return s.meter.Close() }

// Traffic returns the bytes received and sent, those of TLS and the handshake included.
func (s *Stream) Traffic() (in, out uint64) { return s.meter.in.Load(), s.meter.out.Load() }

// maxUnsent is how much the kernel takes that it cannot send yet. It would let its buffer grow to megabytes, which are
// seconds of delay on a slow way (tcp(7), tcp_wmem), where a tunnel should see loss.
const maxUnsent = 64 << 10

// hastenTCP sets that limit on the TCP connection below, if it finds one. A kernel that refuses is only slower to notice.
func hastenTCP(conn net.Conn) {
	for {
		switch c := conn.(type) {
		case *tls.Conn:
			conn = c.NetConn()
		case *meter:
			conn = c.Conn
		case *tunnelConn:
			conn = c.Conn
		case *net.TCPConn:
			if raw, err := c.SyscallConn(); err == nil {
				_ = raw.Control(func(fd uintptr) {
					_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, maxUnsent)
				})
			}
			return
		default:
			return
		}
	}
}

// knowsStreams is what a dialler asks of a peer: one that does not know what a binding is would make a session of it.
func knowsStreams(peer PeerHello) error {
	if peer.Features&FeatureStreams == 0 {
		return fail(Refused, "%s is too old to carry tunnels over TCP: upgrade it", peer.ID.Short())
	}
	return nil
}

// admitStream is what an acceptor asks about a peer that wants a stream.
func (h *Handshaker) admitStream(peer PeerHello) error {
	if h.config.AdmitStream == nil {
		return errors.New("this node carries no tunnels over TCP")
	}
	return h.config.AdmitStream(peer)
}
