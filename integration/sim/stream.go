package sim

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// stream is one end of a routed stream, with the handshake replaced by three pieces: the opener's hello, the answer,
// and the opener's word that it has it. Then every message is one piece.
type stream struct {
	node   *Node
	key    streamKey
	out    uint64 // Seq of the next piece sent
	in     uint64 // and of the next one due
	id     wgmesh.SessionID
	up     bool
	record topology.Sealed // of the peer, from its hello
}

// streamKey tells streams apart, as topology/control does.
type streamKey struct {
	peer   topology.NodeID
	number uint64
	ours   bool
}

// maxStreams is topology/control's bound.
const maxStreams = 256

// openRouted begins a session over neighbours.
func (n *Node) openRouted(peer topology.NodeID) {
	w := n.world
	s := &stream{node: n, key: streamKey{peer, w.rng.Uint64(), true}}
	n.streams[s.key] = s
	s.send(s.hello(), false)
	w.clock.after(handshakeTimeout, func() {
		if n.streams[s.key] == s && !s.up {
			s.end("no answer over the neighbours")
		}
	})
}

// deliver takes a piece that is for this node.
func (n *Node) deliver(p topology.Routed) {
	key := streamKey{p.From, p.Stream, !p.Opener}
	s := n.streams[key]
	if s == nil {
		switch {
		case p.Fin:
			return
		case !p.Opener || p.Seq != 0 || len(n.streams) >= maxStreams:
			n.post(wgmesh.RoutedOut{Piece: topology.Routed{
				From: n.core.Self(), To: p.From, Stream: p.Stream, Opener: !p.Opener, Fin: true, Hops: topology.MaxHops,
			}})
			return
		}
		s = &stream{node: n, key: key}
		n.streams[key] = s
		n.world.clock.after(handshakeTimeout, func() {
			if n.streams[key] == s && !s.up {
				s.end("no word of the opener")
			}
		})
	}
	s.take(p)
}

func (s *stream) take(p topology.Routed) {
	switch {
	case p.Fin:
		s.end("the peer ended the routed stream")
		return
	case p.Seq != s.in:
		s.end("the routed stream lost a piece")
		return
	}
	s.in++
	m, err := topology.DecodeMessage(p.Data)
	if err != nil {
		s.node.world.violate("node %d: a routed piece does not decode: %v", s.node.index, err)
		return
	}
	switch {
	case p.Seq == 0 && len(m.Records) == 1:
		s.record = m.Records[0]
		if s.key.ours {
			s.send(topology.Message{Bye: &topology.Bye{}}, false)
			s.begin()
		} else {
			s.send(s.hello(), false)
		}
	case p.Seq == 1 && !s.key.ours && !s.up:
		s.begin()
	default:
		s.node.post(wgmesh.Received{ID: s.id, Message: m})
	}
}

func (s *stream) hello() topology.Message {
	return topology.Message{Records: []topology.Sealed{s.node.core.Record()}}
}

// begin makes the stream a session.
func (s *stream) begin() {
	s.up = true
	opener, far := s.node.core.Self(), s.key.peer
	if !s.key.ours {
		opener, far = far, opener
	}
	s.id = s.node.newRouted(s)
	s.node.post(wgmesh.SessionUp{
		ID: s.id, Peer: s.key.peer, Record: s.record, Dialled: s.key.ours, Routed: true,
		Export: exportOf(s.key.number, opener, far),
	})
}

// send puts a message into the stream.
func (s *stream) send(m topology.Message, fin bool) {
	p := topology.Routed{
		From: s.node.core.Self(), To: s.key.peer, Stream: s.key.number, Opener: s.key.ours, Seq: s.out, Fin: fin,
		Hops: topology.MaxHops,
	}
	if !fin {
		data, err := topology.EncodeMessage(m)
		if err != nil {
			s.node.world.violate("node %d sends what has no encoding: %v", s.node.index, err)
			return
		}
		p.Data = data
	}
	s.out++
	s.node.post(wgmesh.RoutedOut{Piece: p})
}

// end drops the stream and tells the core, and the far end.
func (s *stream) end(reason string) {
	if s.node.streams[s.key] != s {
		return
	}
	delete(s.node.streams, s.key)
	s.send(topology.Message{}, true)
	switch {
	case s.up:
		delete(s.node.routed, s.id)
		s.node.post(wgmesh.SessionDown{ID: s.id, Reason: reason})
	case s.key.ours:
		s.node.post(wgmesh.DialFailed{Peer: s.key.peer, Kind: wgmesh.DialUnreachable, Reason: reason})
	}
}

// exportOf stands in for the exporter of TLS: both ends know it, and no other session has it.
func exportOf(number uint64, dialler, acceptor topology.NodeID) [32]byte {
	b := binary.BigEndian.AppendUint64([]byte("export"), number)
	b = append(b, dialler[:]...)
	return sha256.Sum256(append(b, acceptor[:]...))
}
