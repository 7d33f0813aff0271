package control

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// Limits of a session.
const (
	writeTimeout = 10 * time.Second // for 16 kB: a peer that takes less is as good as gone
	chunk        = 16 << 10         // bytes written at once, the payload of one TLS record
	maxQueued    = 512 << 10        // bytes that wait to be written; as many may be in writing
	inboxSize    = 16               // messages that wait for Receive
	farewell     = 2 * time.Second  // for what is queued and the goodbye, when a session is closed
)

// ErrClosed is why a session that this node closed carries nothing more.
var ErrClosed = errors.New("session closed")

// Session is an authenticated connection to a peer. Its methods may be called from several goroutines; whoever got it
// must Close it, also when it ended by itself.
type Session struct {
	Peer    topology.NodeID
	Hello   PeerHello
	Export  [32]byte       // the same at both ends, and known to nobody else: keys PSKs
	Remote  netip.AddrPort // zero if routed or dialled through a proxy
	Local   netip.AddrPort // our end of the connection; zero if routed
	Dialled bool           // by us

	conn  *secured
	inbox chan topology.Message
	out   outbox

	ending   chan struct{} // closed when the session begins to end
	endOnce  sync.Once
	err      error         // why; this and the next two are set before ending is closed
	goodbye  string        // what to tell the peer; "" when there is nobody to tell
	cut      *time.Timer   // closes the connection under whatever still blocks in it
	readDone chan struct{} // closed when read has returned
	tasks    sync.WaitGroup
}

func newSession(t *secured, peer PeerHello) *Session {
	return &Session{
		Peer: peer.ID, Hello: peer, Export: t.export, Dialled: t.dialled,
		Remote: peer.Remote, Local: addrPort(t.meter.LocalAddr()),
		conn: t, inbox: make(chan topology.Message, inboxSize), out: newOutbox(), ending: make(chan struct{}), readDone: make(chan struct{}),
	}
}

// start begins to move messages. Close ends both goroutines.
func (s *Session) start() {
	s.tasks.Go(s.read)
	s.tasks.Go(s.write)
}

// Record returns the peer's own record as it came with the hello.
func (s *Session) Record() topology.Sealed { return s.Hello.Sealed }

// Traffic returns the bytes received and sent, those of TLS and the handshake included.
func (s *Session) Traffic() (in, out uint64) { return s.conn.meter.in.Load(), s.conn.meter.out.Load() }

// Done is closed when the session begins to end. Err then says why.
func (s *Session) Done() <-chan struct{} { return s.ending }

// Err says why the session ended, nil while it has not.
func (s *Session) Err() error {
	select {
	case <-s.ending:
		return s.err
	default:
		return nil
	}
}

// Send queues a message. It waits only while the queue is full, which ends the session if it lasts; with a ctx that has
// ended it does not wait.
func (s *Session) Send(ctx context.Context, m topology.Message) error {
	body, err := topology.EncodeMessage(m)
	if err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return s.out.add(ctx, body, m.Bye != nil, s.ending, s.Err)
}

// Receive returns the next message, in the order in which the peer sent them. When the session has ended and all
// messages were taken, it returns Err.
func (s *Session) Receive(ctx context.Context) (topology.Message, error) {
	select {
	case m, ok := <-s.inbox:
		if !ok {
			return m, s.Err()
		}
		return m, nil
	case <-ctx.Done():
		return topology.Message{}, context.Cause(ctx)
	}
}

// Close sends what is queued and a goodbye with the reason, for at most two seconds, and ends the session.
func (s *Session) Close(reason string) {
	s.end(ErrClosed, cmp.Or(reason, "closed"))
	s.tasks.Wait()
}

// end begins the end; the first call decides.
func (s *Session) end(err error, goodbye string) {
	s.endOnce.Do(func() {
		s.err, s.goodbye = err, goodbye
		s.cut = time.AfterFunc(farewell, func() { s.conn.meter.Close() })
		close(s.ending)
	})
}

func (s *Session) read() {
	defer close(s.readDone)
	defer close(s.inbox)
	r := bufio.NewReader(s.conn.conn)
	var left string // what the peer said when it left
	for {
		body, err := readFrame(r, topology.MaxMessage)
		var m topology.Message
		if err == nil {
			if m, err = topology.DecodeMessage(body); err != nil {
				err = &frameError{oneLine(err.Error())}
			}
		}
		switch {
		case err == nil:
		case left != "":
			s.end(errors.New(left), "")
			return
		case errors.Is(err, io.EOF):
			s.end(errors.New("connection closed by the peer"), "")
			return
		default:
			if broken, ok := errors.AsType[*frameError](err); ok {
				s.end(fmt.Errorf("peer breaks the protocol: %w", broken), "protocol: "+broken.text)
				_, _ = io.Copy(io.Discard, s.conn.conn) // until the peer has gone: see leave
				return
			}
			s.end(fmt.Errorf("connection lost: %w", bareNet(err)), "")
			return
		}
		if m.Bye != nil {
			left = "closed by the peer: " + oneLine(m.Bye.Reason)
		}
		if isEmpty(m) {
			continue // of a newer version
		}
		select {
		case s.inbox <- m:
		case <-s.ending: // read on until the peer has gone: see leave
		}
	}
}

// isEmpty says that a message holds nothing that this version knows.
func isEmpty(m topology.Message) bool {
	return m.Digest == nil && len(m.Records) == 0 && m.Seen == nil && m.PSK == nil && m.Routed == nil &&
		m.Ping == nil && m.Pong == nil && m.Forget == nil && m.Bye == nil
}

func (s *Session) write() {
	defer func() {
		s.conn.meter.Close() // ends read
		s.cut.Stop()
	}()
	for {
		select {
		case <-s.ending:
			s.leave()
			return
		case <-s.out.wake:
			if err := s.flush(s.out.take()); err != nil {
				s.end(fmt.Errorf("peer does not take messages: %w", bareNet(err)), "")
				return
			}
		}
	}
}

// flush writes b in pieces, so that the time limit is one for progress and not for the size of the queue.
func (s *Session) flush(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), chunk)
		if err := s.conn.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := s.conn.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	// TLS itself may have to answer something later, outside of any time limit of ours.
	return s.conn.conn.SetWriteDeadline(time.Time{})
}

// leave tells the peer why we go and waits until it has gone too: closing a TCP socket that has unread bytes resets the
// connection, and the goodbye could get lost. The cut bounds all of it.
func (s *Session) leave() {
	if s.goodbye == "" {
		return
	}
	if err := s.flush(s.out.last(s.goodbye)); err != nil {
		return
	}
	if err := s.conn.conn.CloseWrite(); err != nil {
		return
	}
	<-s.readDone
}

// bareNet drops the addresses from a network error: the session's owner knows them.
func bareNet(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
