package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/topology/control"
	"github.com/weavewg/weavewg/wgmesh"
)

// sessions is the edge of the core's control sessions: it dials, accepts, and pumps messages both ways. Each session has
// two goroutines, one for each direction, so that a peer that takes nothing holds up nobody else.
type sessions struct {
	shaker *control.Handshaker
	post   func(wgmesh.Event)
	log    *zap.Logger

	ctx   context.Context // of everything below
	tasks sync.WaitGroup
	last  atomic.Uint64

	mu      sync.Mutex
	open    map[wgmesh.SessionID]*pump
	streams *control.Streams
	pieces  chan topology.Routed
	bytes   [2]uint64 // received and sent by sessions that are over
}

// pump is one session and what waits to be sent on it.
type pump struct {
	session *control.Session
	out     chan topology.Message
	closing chan string // the reason; at most one
}

// outQueue messages may wait for a session; more means that it is stuck, and it is ended.
const outQueue = 4096

func newSessions(ctx context.Context, self topology.NodeID, shaker *control.Handshaker, post func(wgmesh.Event), log *zap.Logger) *sessions {
	s := &sessions{ctx: ctx, shaker: shaker, post: post, log: log, open: map[wgmesh.SessionID]*pump{},
		pieces: make(chan topology.Routed, outQueue)}
	s.streams = control.NewStreams(self, func(p topology.Routed) error {
		post(wgmesh.RoutedOut{Piece: p})
		return nil
	}, s.acceptRouted)
	s.tasks.Go(s.deliverAll)
	return s
}

// dial carries out Dial.
func (s *sessions) dial(target string) {
	s.tasks.Go(func() {
		session, err := s.shaker.Dial(s.ctx, target)
		if err != nil {
			s.post(dialFailed(target, topology.NodeID{}, err))
			return
		}
		s.pump(session, target, false)
	})
}

// openRouted carries out OpenRouted.
func (s *sessions) openRouted(peer topology.NodeID) {
	s.tasks.Go(func() {
		conn, err := s.streams.Open(peer)
		if err != nil {
			s.post(dialFailed("", peer, err))
			return
		}
		session, err := s.shaker.Initiate(s.ctx, conn)
		if err == nil && session.Peer != peer {
			session.Close("another node was meant")
			err = errors.New("another node answered")
		}
		if err != nil {
			s.post(dialFailed("", peer, err))
			return
		}
		s.pump(session, "", true)
	})
}

// accept takes a session that the listener made.
func (s *sessions) accept(session *control.Session) { s.pump(session, "", false) }

// refuseStream is never asked: without control.Config.AdmitStream the handshake refuses.
func refuseStream(stream *control.Stream) { stream.Close() }

// acceptRouted answers a stream that a peer opened to us.
func (s *sessions) acceptRouted(conn *control.RoutedConn) {
	s.tasks.Go(func() {
		session, err := s.shaker.Respond(s.ctx, conn)
		if err != nil {
			s.log.Debug("routed stream failed", zap.Error(err))
			return
		}
		s.pump(session, "", true)
	})
}

func dialFailed(target string, peer topology.NodeID, err error) wgmesh.DialFailed {
	failed := wgmesh.DialFailed{Target: target, Peer: peer, Kind: wgmesh.DialUnreachable, Reason: err.Error()}
	if e, ok := errors.AsType[*control.Error](err); ok {
		failed.Kind = map[control.Kind]wgmesh.DialError{
			control.Unreachable: wgmesh.DialUnreachable, control.Silent: wgmesh.DialSilent, control.Refused: wgmesh.DialRefused,
			control.Self: wgmesh.DialSelf, control.Duplicate: wgmesh.DialDuplicate,
		}[e.Kind]
		if !e.Peer.IsZero() {
			failed.Peer = e.Peer
		}
	}
	return failed
}

// pump tells the core of a session, then moves its messages until it ends.
func (s *sessions) pump(session *control.Session, target string, routed bool) {
	id := wgmesh.SessionID(s.last.Add(1))
	p := &pump{session: session, out: make(chan topology.Message, outQueue), closing: make(chan string, 1)}
	s.mu.Lock()
	s.open[id] = p
	s.mu.Unlock()
	remote, local := session.Remote, session.Local
	if routed {
		remote, local = netip.AddrPort{}, netip.AddrPort{}
	}
	s.post(wgmesh.SessionUp{
		ID: id, Peer: session.Peer, Record: session.Record(), Dialled: session.Dialled, Target: target,
		Remote: remote, Local: local, Routed: routed, Export: session.Export,
	})
	var sending sync.WaitGroup
	sending.Go(func() { s.sendAll(p) })
	reason := s.receiveAll(id, session)
	s.mu.Lock()
	delete(s.open, id)
	s.mu.Unlock()
	session.Close(reason)
	sending.Wait()
	in, out := session.Traffic()
	s.mu.Lock()
	s.bytes[0] += in
	s.bytes[1] += out
	s.mu.Unlock()
	s.post(wgmesh.SessionDown{ID: id, Reason: reason})
}

func (s *sessions) receiveAll(id wgmesh.SessionID, session *control.Session) string {
	for {
		m, err := session.Receive(s.ctx)
		if err != nil {
			return err.Error()
		}
		s.post(wgmesh.Received{ID: id, Message: m})
	}
}

// sendAll sends until the session ends; asked to close it first sends what was queued before.
func (s *sessions) sendAll(p *pump) {
	send := func(m topology.Message) {
		if err := p.session.Send(s.ctx, m); err != nil {
			s.log.Debug("cannot send", zap.Error(err)) // the session ends by itself
		}
	}
	for {
		select {
		case m := <-p.out:
			send(m)
		case reason := <-p.closing:
			for range len(p.out) {
				send(<-p.out)
			}
			p.session.Close(reason)
			return
		case <-p.session.Done():
			return
		}
	}
}

// send carries out Send. It never waits.
func (s *sessions) send(id wgmesh.SessionID, m topology.Message) {
	s.mu.Lock()
	p := s.open[id]
	s.mu.Unlock()
	if p == nil {
		return // its SessionDown is on the way
	}
	select {
	case p.out <- m:
	default:
		s.closeSession(id, "it takes no messages")
	}
}

// closeSession carries out CloseSession.
func (s *sessions) closeSession(id wgmesh.SessionID, reason string) {
	s.mu.Lock()
	p := s.open[id]
	s.mu.Unlock()
	if p == nil {
		return
	}
	select {
	case p.closing <- reason:
	default: // it is closing already
	}
}

// deliver carries out DeliverRouted. It never waits: a piece too many is lost, and its stream ends by the gap.
func (s *sessions) deliver(p topology.Routed) {
	select {
	case s.pieces <- p:
	default:
	}
}

// deliverAll hands pieces to their streams. It is not the loop that does so, because a stream may answer at once, and
// that answer is an event for the loop.
func (s *sessions) deliverAll() {
	for {
		select {
		case p := <-s.pieces:
			s.streams.Deliver(p)
		case <-s.ctx.Done():
			s.streams.Close()
			return
		}
	}
}

// traffic is the bytes of control received and sent since the start.
func (s *sessions) traffic() (in, out uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, out = s.bytes[0], s.bytes[1]
	for _, p := range s.open {
		i, o := p.session.Traffic()
		in, out = in+i, out+o
	}
	return in, out
}

// wait returns when every dial and pump has ended, which they do when ctx has.
func (s *sessions) wait() { s.tasks.Wait() }

// strangersProblem keeps the problem of connections without our knock.
func strangersProblem(ctx context.Context, l *control.Listener, p *problems) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		now := map[string]api.Problem{}
		for _, one := range l.Strangers() {
			if time.Since(one.Last) < strangersShown && len(now) < 8 {
				now[one.Prefix.String()] = api.Problem{
					Severity: "warn", Message: strangerText(one), Hint: "another mesh name or secret there, or somebody is scanning",
				}
			}
		}
		p.replace("strangers", now)
	}
}

// strangersShown is how long after the last connection strangers stay a problem.
const strangersShown = 10 * time.Minute

func strangerText(s control.Stranger) string {
	if s.Connections == 1 {
		return fmt.Sprintf("strangers: 1 connection from %s without our knock", s.Addr)
	}
	return fmt.Sprintf("strangers: %d connections from %s without our knock", s.Connections, s.Addr)
}
