package control

import (
	"errors"
	"net"
	"sync/atomic"
)

// maxUnproven bounds what is read from a peer until the handshake is over. TLS and hello need about 6 kB.
const maxUnproven = 16 << 10

var errTooMuch = errors.New("more than 16 kB before the handshake was over")

// meter is the connection under TLS: it counts bytes, gives the knock back to TLS once it was looked at, and ends a
// peer that sends too much before the handshake is over.
type meter struct {
	net.Conn
	head    []byte // read by the knock, to be read again
	in, out atomic.Uint64
	open    atomic.Bool // the handshake is over: no limit
}

func (m *meter) Read(p []byte) (int, error) {
	if len(m.head) > 0 {
		n := copy(p, m.head)
		if m.head = m.head[n:]; len(m.head) == 0 {
			m.head = nil
		}
		return n, nil
	}
	if !m.open.Load() {
		left := maxUnproven - int(m.in.Load())
		if left <= 0 {
			return 0, errTooMuch
		}
		p = p[:min(len(p), left)]
	}
	n, err := m.Conn.Read(p)
	m.in.Add(uint64(n))
	return n, err
}

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.Conn.Write(p)
	m.out.Add(uint64(n))
	return n, err
}
