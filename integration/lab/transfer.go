package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Transfer is what a TCP transfer did.
type Transfer struct {
	Bytes   int64         `json:"bytes"`
	Elapsed time.Duration `json:"elapsed"`
}

// Mbits is the rate in Mbit/s.
func (t Transfer) Mbits() float64 { return float64(t.Bytes) * 8 / t.Elapsed.Seconds() / 1e6 }

// Sink takes TCP transfers and answers each with the SHA-256 of what arrived.
type Sink struct {
	listener net.Listener
	tasks    sync.WaitGroup
	mu       sync.Mutex
	conns    map[net.Conn]struct{} // nil once closed
}

// OpenSink listens in a namespace; port 0 picks one.
func OpenSink(ctx context.Context, at Place, addr netip.AddrPort) (*Sink, error) {
	s := &Sink{conns: make(map[net.Conn]struct{})}
	err := at.Do(func() (err error) {
		s.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", addr.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	s.tasks.Go(s.accept)
	return s, nil
}

// Addr is where the sink listens.
func (s *Sink) Addr() netip.AddrPort { return s.listener.Addr().(*net.TCPAddr).AddrPort() }

// Close ends the sink and the transfers to it.
func (s *Sink) Close() error {
	err := s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		err = errors.Join(err, c.Close())
	}
	s.conns = nil
	s.mu.Unlock()
	s.tasks.Wait()
	return err
}

func (s *Sink) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.conns == nil {
			s.mu.Unlock()
			_ = conn.Close()
			return
		}
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.tasks.Go(func() {
			sum := sha256.New()
			if _, err := io.CopyBuffer(sum, conn, make([]byte, 256<<10)); err == nil {
				_, _ = conn.Write(sum.Sum(nil)) // the other end notices if it misses
			}
			s.mu.Lock()
			if s.conns != nil {
				delete(s.conns, conn)
				_ = conn.Close()
			}
			s.mu.Unlock()
		})
	}
}

// Send transfers bytes to a sink and checks that they arrived as they were. Every 64 KiB begin with marker, so that a
// capture can be searched for it.
func Send(ctx context.Context, at Place, to netip.AddrPort, size int64, marker []byte) (Transfer, error) {
	var conn net.Conn
	start := time.Now()
	err := at.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", to.String())
		return err
	})
	if err != nil {
		return Transfer{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()

	sum := sha256.New()
	if err := writeStream(io.MultiWriter(conn, sum), size, marker); err != nil {
		return Transfer{}, fmt.Errorf("send to %s: %w", to, errors.Join(err, ctx.Err()))
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		return Transfer{}, err
	}
	answer, err := io.ReadAll(io.LimitReader(conn, sha256.Size+1))
	t := Transfer{Bytes: size, Elapsed: time.Since(start)}
	switch {
	case err != nil:
		return t, fmt.Errorf("send to %s: %w", to, errors.Join(err, ctx.Err()))
	case !bytes.Equal(answer, sum.Sum(nil)):
		return t, fmt.Errorf("send to %s: what arrived is not what was sent", to)
	}
	return t, nil
}

// writeStream writes random blocks, each made different by its number.
func writeStream(w io.Writer, size int64, marker []byte) error {
	block := make([]byte, 64<<10)
	if _, err := rand.Read(block); err != nil {
		return err
	}
	copy(block, marker)
	for n := uint64(0); size > 0; n++ {
		binary.BigEndian.PutUint64(block[len(marker):], n)
		b := block[:min(int64(len(block)), size)]
		if _, err := w.Write(b); err != nil {
			return err
		}
		size -= int64(len(b))
	}
	return nil
}
