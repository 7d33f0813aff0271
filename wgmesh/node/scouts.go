package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
	"github.com/weavewg/weavewg/wgmesh/rawudp"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// scouts is the edge of the core's scouts: it sends, answers and hears them at the UDP ports of our slots, which WireGuard owns.
type scouts struct {
	socket *rawudp.Socket
	post   func(wgmesh.Event)
	log    *zap.Logger

	mu   sync.Mutex // guards desk
	desk scout.Desk
}

// newScouts opens the sockets in the host's namespace, where those of WireGuard are.
func newScouts(port uint16, post func(wgmesh.Event), log *zap.Logger) (*scouts, error) {
	socket, err := rawudp.Open(port, port+topology.MaxSlots-1, [4]byte([]byte(scout.Magic)))
	if err != nil {
		return nil, fmt.Errorf("scouts: %w", err)
	}
	return &scouts{socket: socket, post: post, log: log}, nil
}

// send carries out Scout. An address that nothing can be sent to is one that does not answer.
func (s *scouts) send(x wgmesh.Scout) {
	s.mu.Lock()
	datagram := s.desk.Ask(time.Now(), x.Key, x.Message)
	s.mu.Unlock()
	from := netip.AddrPortFrom(netip.Addr{}, x.Port)
	for _, to := range x.To {
		if err := s.socket.Send(from, to, datagram); err != nil {
			s.log.Debug("scout", zap.Error(err))
		}
	}
}

// listen carries out Listen.
func (s *scouts) listen(keys []scout.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.desk.Listen(keys)
}

// receive answers requests, and tells the core of what it heard, until the socket is closed.
func (s *scouts) receive() error {
	buf := make([]byte, 1<<16)
	for {
		n, at, from, err := s.socket.Receive(buf)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("scouts: %w", err)
		}
		s.hear(at, from, buf[:n])
	}
}

func (s *scouts) hear(at, from netip.AddrPort, datagram []byte) {
	s.mu.Lock()
	answer, m, ok := s.desk.Hear(time.Now(), from, datagram)
	s.mu.Unlock()
	switch {
	case !ok:
	case m.Kind == scout.Answer:
		s.post(wgmesh.ScoutAnswered{From: from, Message: m})
	default:
		if err := s.socket.Send(at, from, answer); err != nil {
			s.log.Debug("scout", zap.Error(err))
		}
		s.post(wgmesh.ScoutHeard{Tag: m.Tag, Port: at.Port(), From: from})
	}
}

func (s *scouts) close() error { return s.socket.Close() }
