package control

import (
	"context"
	"sync"

	"github.com/weavewg/weavewg/topology"
)

// outbox collects framed messages until the writer takes all of them at once, so that many small ones make one write.
type outbox struct {
	wake chan struct{} // has an element while something waits

	mu      sync.Mutex
	pending []byte
	room    chan struct{} // closed and replaced at every take
	bye     bool          // the last message has been added
}

func newOutbox() outbox { return outbox{wake: make(chan struct{}, 1), room: make(chan struct{})} }

// add appends a message, waiting while maxQueued bytes are there. bye marks it as the last one.
func (o *outbox) add(ctx context.Context, body []byte, bye bool, ending <-chan struct{}, why func() error) error {
	for {
		if err := why(); err != nil {
			return err
		}
		o.mu.Lock()
		if o.bye {
			o.mu.Unlock()
			return ErrClosed
		}
		if len(o.pending) == 0 || len(o.pending)+frameHeader+len(body) <= maxQueued {
			o.pending = appendFrame(o.pending, body)
			o.bye = bye
			o.mu.Unlock()
			select {
			case o.wake <- struct{}{}:
			default:
			}
			return nil
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-ending:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// take returns what is queued. The bytes are the caller's.
func (o *outbox) take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.pending
	o.pending = nil
	close(o.room)
	o.room = make(chan struct{})
	return b
}

// last returns what is queued and a goodbye, unless one is among it already.
func (o *outbox) last(reason string) []byte {
	b := o.take()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.bye {
		return b
	}
	o.bye = true
	body, err := topology.EncodeMessage(topology.Message{Bye: &topology.Bye{Reason: oneLine(reason)}})
	if err != nil {
		return b // a goodbye is a courtesy
	}
	return appendFrame(b, body)
}
