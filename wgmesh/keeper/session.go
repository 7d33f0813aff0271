package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// session is one connection to the keeper: the daemon's, or that of a command which only says stop.
type session struct {
	conn  *net.UnixConn
	pid   int
	write sync.Mutex
}

// serve answers one connection until it ends.
func (s *server) serve(ctx context.Context, conn *net.UnixConn) {
	defer conn.Close()
	release := context.AfterFunc(ctx, func() { conn.Close() })
	defer release()
	cred, err := credentials(conn)
	if err != nil {
		s.Logger.Warn("connection without credentials", zap.Error(err))
		return
	}
	c := &session{conn: conn, pid: int(cred.Pid)}
	defer s.detach(c)
	for {
		var r request
		file, err := receive(conn, &r)
		if file != nil {
			file.Close() // no request brings one
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				s.Logger.Warn("connection ended", zap.Int("pid", c.pid), zap.Error(err))
			}
			return
		}
		if int(cred.Uid) != os.Geteuid() {
			c.answer(reply{ID: r.ID, Error: fmt.Sprintf("uid %d may not use this keeper", cred.Uid)}, nil)
			return
		}
		if r.Version != Version {
			c.answer(reply{ID: r.ID, Error: fmt.Sprintf(
				"the keeper (pid %d) speaks protocol %d, this program %d: weavewg down, then up (which interrupts traffic)",
				os.Getpid(), Version, r.Version)}, nil)
			return
		}
		answer, file := s.handle(ctx, c, r)
		answer.ID = r.ID
		c.answer(answer, file)
		if r.Op == opStop {
			s.stop()
			return
		}
	}
}

func (s *server) handle(ctx context.Context, c *session, r request) (reply, *os.File) {
	switch r.Op {
	case opAttach:
		if err := s.attach(c); err != nil {
			return reply{Error: err.Error()}, nil
		}
		return reply{PID: os.Getpid()}, nil
	case opStop:
		s.Logger.Info("stopping", zap.Int("pid", c.pid))
		s.dropAll()
		return reply{PID: os.Getpid()}, nil
	}
	if !s.attached(c) {
		return reply{Error: "attach first"}, nil
	}
	switch r.Op {
	case opNamespace:
		return reply{}, s.overlay
	case opWireGuard:
		pid, err := s.wireguard(ctx, r)
		if err != nil {
			return reply{Error: err.Error()}, nil
		}
		return reply{PID: pid}, nil
	case opDrop:
		s.drop(r.Name)
		return reply{}, nil
	default:
		return reply{Error: fmt.Sprintf("unknown request %q", r.Op)}, nil
	}
}

// attach makes the connection the daemon's.
func (s *server) attach(c *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.daemon != nil && s.daemon != c && !s.daemon.gone() {
		return fmt.Errorf("run_dir %s is in use by another daemon (pid %d)", s.RunDir, s.daemon.pid)
	}
	s.daemon = c
	return nil
}

// gone says that the other end is closed, which the session's own goroutine may not have read yet: a daemon that is
// restarted at once must not be refused for its predecessor's sake.
func (c *session) gone() bool {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		return true
	}
	var n int
	err = raw.Control(func(fd uintptr) {
		n, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}, 0) // an error counts as no news
	})
	return err != nil || n > 0
}

func (s *server) attached(c *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.daemon == c
}

func (s *server) detach(c *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.daemon == c {
		s.daemon = nil
	}
}

// patience with a daemon that does not read: children wait to be replaced meanwhile.
const patience = time.Second

// answer sends; a client that is gone is noticed by the read.
func (c *session) answer(r reply, file *os.File) {
	c.write.Lock()
	defer c.write.Unlock()
	r.Version = Version
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	_ = send(c.conn, r, file)
}
