package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Client sends requests over a stream; its methods may be called from several goroutines.
type Client struct {
	stream io.ReadWriteCloser

	sending sync.Mutex
	out     *json.Encoder

	mu      sync.Mutex // guards the rest
	last    uint64
	pending map[uint64]chan Response
	ended   error // why no answer comes any more
}

// NewClient reads answers from the stream until it ends or Close is called.
func NewClient(stream io.ReadWriteCloser) *Client {
	c := &Client{stream: stream, out: json.NewEncoder(stream), pending: map[uint64]chan Response{}}
	go c.read()
	return c
}

// Close ends the stream and with it every call that waits.
func (c *Client) Close() error { return c.stream.Close() }

func (c *Client) read() {
	in := json.NewDecoder(c.stream)
	for {
		var r Response
		if err := in.Decode(&r); err != nil {
			c.end(fmt.Errorf("guest: the stream ended: %w", err))
			return
		}
		c.mu.Lock()
		answer := c.pending[r.ID]
		delete(c.pending, r.ID)
		c.mu.Unlock()
		if answer != nil {
			answer <- r
		}
	}
}

func (c *Client) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = err
	for id, answer := range c.pending {
		close(answer)
		delete(c.pending, id)
	}
}

// Call sends one request and waits for its answer. An error of the guest comes back as an error.
func (c *Client) Call(ctx context.Context, r Request) (Response, error) {
	answer := make(chan Response, 1)
	c.mu.Lock()
	if c.ended != nil {
		defer c.mu.Unlock()
		return Response{}, c.ended
	}
	c.last++
	r.ID = c.last
	c.pending[r.ID] = answer
	c.mu.Unlock()

	c.sending.Lock()
	err := c.out.Encode(r)
	c.sending.Unlock()
	if err != nil {
		return Response{}, fmt.Errorf("guest: send request: %w", err)
	}
	select {
	case got, ok := <-answer:
		if !ok {
			c.mu.Lock()
			defer c.mu.Unlock()
			return Response{}, c.ended
		}
		if got.Err != "" {
			return got, errors.New(got.Err)
		}
		return got, nil
	case <-ctx.Done():
		return Response{}, ctx.Err()
	}
}
