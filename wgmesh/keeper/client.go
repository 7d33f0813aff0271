package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// ErrGone says that the keeper ended, and with it the namespace and everything in it.
var ErrGone = errors.New("the keeper has ended")

// Client is the daemon's connection to its keeper.
type Client struct {
	conn      *net.UnixConn
	namespace *os.File
	pid       int
	events    chan Event
	done      chan struct{} // the connection is over

	mu      sync.Mutex
	spawned *spawned // not nil if this process started the keeper
	closing bool     // by us
	last    uint64
	waiting map[uint64]chan answer
}

type answer struct {
	reply
	file *os.File
}

// connect dials the keeper's socket and becomes its daemon. Without a keeper the error is ENOENT or ECONNREFUSED.
func connect(ctx context.Context, runDir string) (*Client, error) {
	conn, err := dial(runDir)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, events: make(chan Event, 16), done: make(chan struct{}), waiting: map[uint64]chan answer{}}
	go c.read()
	a, err := c.ask(ctx, request{Op: opAttach})
	if err == nil {
		c.pid = a.PID
		a, err = c.ask(ctx, request{Op: opNamespace})
		c.namespace = a.file
	}
	if err == nil && c.namespace == nil {
		err = errors.New("keeper: the answer holds no namespace")
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func dial(runDir string) (*net.UnixConn, error) {
	return net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socketPath(runDir), Net: "unixpacket"})
}

// Namespace is the overlay's network namespace. It is open until Close.
func (c *Client) Namespace() *os.File { return c.namespace }

// PID of the keeper.
func (c *Client) PID() int { return c.pid }

// Events tells what happened to userspace devices. It is never closed; news that nobody fetches are dropped, so treat
// every event as "look again".
func (c *Client) Events() <-chan Event { return c.events }

// Done is closed when the connection is over: by Close, or because the keeper ended (see ErrGone).
func (c *Client) Done() <-chan struct{} { return c.done }

// WireGuard makes a userspace device in the overlay namespace, or adopts it, and returns its process's id once the
// device can be configured. procs is the child's GOMAXPROCS, 0 for Go's own choice.
func (c *Client) WireGuard(ctx context.Context, name string, mtu, procs int) (pid int, err error) {
	a, err := c.ask(ctx, request{Op: opWireGuard, Name: name, MTU: mtu, Procs: procs})
	return a.PID, err
}

// Drop ends a userspace device and its interface; it is no error if there is none.
func (c *Client) Drop(ctx context.Context, name string) error {
	_, err := c.ask(ctx, request{Op: opDrop, Name: name})
	return err
}

// Close leaves the keeper running and lets go of the namespace.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closing = true
	c.mu.Unlock()
	err := c.conn.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil // closed before
	}
	<-c.done
	if c.namespace != nil {
		err = errors.Join(err, c.namespace.Close())
		c.namespace = nil
	}
	return err
}

func (c *Client) ask(ctx context.Context, r request) (answer, error) {
	reply := make(chan answer, 1)
	c.mu.Lock()
	c.last++
	r.ID, r.Version = c.last, Version
	c.waiting[r.ID] = reply
	err := send(c.conn, r, nil)
	c.mu.Unlock()
	defer c.forget(r.ID)
	if err != nil {
		return answer{}, fmt.Errorf("keeper: %w", errors.Join(err, c.over()))
	}
	select {
	case a := <-reply:
		if a.Error != "" {
			return answer{}, errors.New(a.Error)
		}
		return a, nil
	case <-c.done:
		return answer{}, ErrGone
	case <-ctx.Done():
		return answer{}, fmt.Errorf("keeper: no answer to %s: %w", r.Op, ctx.Err())
	}
}

func (c *Client) over() error {
	select {
	case <-c.done:
		return ErrGone
	default:
		return nil
	}
}

func (c *Client) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.waiting, id)
}

// Started says whether this process started the keeper; else it was there already.
func (c *Client) Started() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spawned != nil
}

// reap looks after a keeper that is our child, once the connection is over.
func (c *Client) reap() {
	c.mu.Lock()
	keeper, grace := c.spawned, reapTimeout
	if c.closing {
		grace = 0 // it goes on without us
	}
	c.mu.Unlock()
	if keeper != nil {
		keeper.reap(grace)
	}
}

// read hands answers and events out until the connection ends.
func (c *Client) read() {
	defer close(c.done)
	for {
		var a answer
		file, err := receive(c.conn, &a.reply)
		if err != nil {
			c.reap()
			return
		}
		a.file = file
		if a.Event != nil {
			select {
			case c.events <- *a.Event:
			default:
			}
			continue
		}
		c.mu.Lock()
		waiting := c.waiting[a.ID]
		c.mu.Unlock()
		if waiting != nil {
			waiting <- a
		} else if file != nil {
			file.Close()
		}
	}
}
