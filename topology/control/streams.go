package control

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/weavewg/weavewg/topology"
)

// Limits of routed streams at one node.
const (
	maxStreams     = 256
	maxPeerStreams = 4
)

// ErrTooManyStreams is why no further routed stream is opened or taken.
var ErrTooManyStreams = errors.New("too many routed streams")

// Streams holds the ends of routed streams at this node and gives each piece to the right one.
type Streams struct {
	self   topology.NodeID
	send   func(topology.Routed) error
	accept func(*RoutedConn)

	mu     sync.Mutex
	open   map[streamKey]*RoutedConn
	byPeer map[topology.NodeID]int
	closed bool
}

// streamKey tells streams apart: two peers, or both ends, may have chosen the same number.
type streamKey struct {
	peer   topology.NodeID
	stream uint64
	ours   bool // opened by this node
}

// NewStreams returns the streams of self. send takes a piece to the network; accept gets the streams that peers open,
// owns them, and must not wait.
func NewStreams(self topology.NodeID, send func(topology.Routed) error, accept func(*RoutedConn)) *Streams {
	return &Streams{
		self: self, send: send, accept: accept,
		open: map[streamKey]*RoutedConn{}, byPeer: map[topology.NodeID]int{},
	}
}

// Open begins a stream to peer. Nothing is sent before the first Write.
func (s *Streams) Open(peer topology.NodeID) (*RoutedConn, error) {
	var number [8]byte
	_, _ = rand.Read(number[:]) // never fails: crypto/rand
	return s.add(streamKey{peer, binary.BigEndian.Uint64(number[:]), true})
}

func (s *Streams) add(key streamKey) (*RoutedConn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case key.peer == s.self || key.peer.IsZero():
		return nil, fmt.Errorf("no routed stream to %s", key.peer)
	case len(s.open) >= maxStreams || s.byPeer[key.peer] >= maxPeerStreams:
		return nil, ErrTooManyStreams
	case s.open[key] != nil:
		return nil, fmt.Errorf("routed stream %d exists", key.stream)
	}
	conn := NewRoutedConn(s.self, key.peer, key.stream, key.ours, s.send)
	conn.closing = func() { s.remove(key) }
	s.open[key] = conn
	s.byPeer[key.peer]++
	return conn, nil
}

func (s *Streams) remove(key streamKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, key)
	if s.byPeer[key.peer]--; s.byPeer[key.peer] <= 0 {
		delete(s.byPeer, key.peer)
	}
}

// Deliver takes a piece that is addressed to this node. A piece of no stream we know is refused, so that its sender
// does not wait; a Fin is never answered, so that two nodes cannot refuse each other for ever.
func (s *Streams) Deliver(p topology.Routed) {
	key := streamKey{p.From, p.Stream, !p.Opener}
	s.mu.Lock()
	conn := s.open[key]
	s.mu.Unlock()
	switch {
	case conn != nil:
		conn.Deliver(p)
	case p.Fin:
	case p.Opener && p.Seq == 0:
		conn, err := s.add(key)
		if err != nil {
			s.refuse(p)
			return
		}
		conn.Deliver(p)
		s.accept(conn)
	default:
		s.refuse(p)
	}
}

// refuse answers a piece with the end of its stream: for the other end either a refusal or a gap.
func (s *Streams) refuse(p topology.Routed) {
	// An error means that the network does not take the answer; the other end then runs into its own time limit.
	_ = s.send(topology.Routed{
		From: s.self, To: p.From, Stream: p.Stream, Opener: !p.Opener, Fin: true, Hops: topology.MaxHops,
	})
}

// Close ends all streams; no further ones are opened or taken.
func (s *Streams) Close() {
	s.mu.Lock()
	s.closed = true
	open := make([]*RoutedConn, 0, len(s.open))
	for _, conn := range s.open {
		open = append(open, conn)
	}
	s.mu.Unlock()
	for _, conn := range open {
		_ = conn.Close() // an error means that the peer cannot be told
	}
}
