package carrier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// Times of a stream, and how much is written to it at once.
const (
	keepAlive = 20 * time.Second // of silence, then a sign of life
	silence   = 60 * time.Second // three of them lost: the peer has gone
	stuck     = 20 * time.Second // one write may last so long, like TCP_USER_TIMEOUT in topology/control
	mostOnce  = 64 << 10
	leastOnce = 4 << 10
	slow      = 20 * time.Millisecond // a write that lasts longer makes the next one smaller
)

// carrier is one run.
type carrier struct {
	stream             net.Conn
	peer               party
	queue              *queue
	receiver           *receiver
	sender             *sender
	started            time.Time
	keepAlive, silence time.Duration
}

// Run moves datagrams between socket and stream until one of them or ctx ends, and says why. Datagrams of the stream go to
// peer, and only what comes from there goes into the stream; a zero peer is whoever speaks first. Run closes stream; the
// socket, of package function Socket, stays open for the next one.
func Run(ctx context.Context, stream net.Conn, socket *net.UDPConn, peer netip.AddrPort) error {
	return run(ctx, stream, socket, peer, keepAlive, silence)
}

func run(ctx context.Context, stream net.Conn, socket *net.UDPConn, peer netip.AddrPort, keepAlive, silence time.Duration) error {
	defer stream.Close()
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("carrier: %w", err)
	}
	c := &carrier{
		stream: stream, queue: newQueue(), receiver: newReceiver(raw), sender: newSender(raw), started: time.Now(),
		keepAlive: keepAlive, silence: silence,
	}
	if peer.IsValid() {
		if peer = netip.AddrPortFrom(peer.Addr().Unmap(), peer.Port()); !peer.Addr().Is4() {
			return fmt.Errorf("carrier: peer %s is not on IPv4", peer)
		}
		c.peer.set(peer)
	}
	g, inner := errgroup.WithContext(ctx)
	g.Go(c.collect)
	g.Go(func() error { return c.write(inner) })
	g.Go(c.deliver)
	g.Go(func() error {
		<-inner.Done()
		stream.Close()
		return errors.Join(context.Cause(ctx), socket.SetDeadline(time.Unix(1, 0))) // wakes the other three
	})
	err = g.Wait()
	if reset := socket.SetDeadline(time.Time{}); reset != nil {
		err = errors.Join(err, reset)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return fmt.Errorf("carrier: %w", err)
}

func (c *carrier) now() time.Duration { return time.Since(c.started) }

// collect takes what the peer sends into the queue, and never waits for the stream.
func (c *carrier) collect() error {
	for {
		n, err := c.receiver.read()
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		now := c.now()
		for i := range n {
			datagram, from := c.receiver.datagram(i)
			if len(datagram) > 0 && c.peer.is(from) {
				c.queue.put(now, datagram)
			}
		}
		c.queue.signal()
	}
}

// write gives the stream what is in the queue, as much at once as there is. It writes less at a time while the stream is
// slow: what is written is out of reach of the queue's limits.
func (c *carrier) write(ctx context.Context) error {
	out := make([]byte, 0, mostOnce)
	limit := mostOnce
	idle := time.NewTimer(c.keepAlive)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-idle.C:
			if err := c.put(append(out, 0, 0)); err != nil { // a length of zero
				return err
			}
		case <-c.queue.wake:
			for {
				begin := c.now()
				frames, _ := c.queue.take(begin, out, limit)
				if len(frames) == 0 {
					break
				}
				if err := c.put(frames); err != nil {
					return err
				}
				if c.now()-begin > slow {
					limit = max(limit/2, leastOnce)
				} else {
					limit = min(limit*2, mostOnce)
				}
			}
		}
		idle.Reset(c.keepAlive)
	}
}

// put writes to the stream.
func (c *carrier) put(frames []byte) error {
	if err := c.stream.SetWriteDeadline(time.Now().Add(stuck)); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	_, err := c.stream.Write(frames)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("stream: the far end takes nothing for %s", stuck)
	}
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return nil
}

// deliver sends what the stream brings to the peer.
func (c *carrier) deliver() error {
	d := new(deframer)
	for {
		if err := c.stream.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		switch err := d.fill(c.stream); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("stream: nothing came for %s", c.silence)
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return errors.New("stream: closed by the far end")
		case err != nil:
			return fmt.Errorf("stream: %w", err)
		}
		if err := c.deliverAll(d); err != nil {
			return err
		}
	}
}

// deliverAll sends the datagrams that are whole.
func (c *carrier) deliverAll(d *deframer) error {
	for {
		datagram, ok, err := d.next()
		if err != nil {
			return fmt.Errorf("stream: %w", err)
		}
		if ok && len(datagram) == 0 {
			continue
		}
		if !ok || !c.sender.add(datagram) {
			if err := c.sender.flush(&c.peer); err != nil {
				return fmt.Errorf("socket: %w", err)
			}
			if !ok {
				return nil
			}
			c.sender.add(datagram)
		}
	}
}
