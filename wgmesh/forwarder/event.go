package forwarder

import (
	"context"
	"net/netip"
	"sync"

	"github.com/weavewg/weavewg/wgmesh/relay"
)

// Event is something that happened to a binding.
type Event interface{ event() }

type (
	// Registered means: a leg proved where it is, or said once more that it still is there. Those that repeat each other may be
	// told once.
	Registered struct {
		ID       relay.ID
		Leg      int
		Addr     netip.AddrPort
		First    bool           // it was proven for the first time
		Moved    bool           // it was elsewhere before
		Observed netip.AddrPort // where it sees us, if it answered a question of ours
	}
	// Expired means: a binding is over, because nobody refreshed it.
	Expired struct{ ID relay.ID }
)

func (Registered) event() {}
func (Expired) event()    {}

// events is a queue between the forwarder, which never waits, and whoever reads its events. It is bounded: of one leg it
// holds one registration, and a binding expires once.
type events struct {
	mu    sync.Mutex
	queue []Event
	legs  map[legKey]int // place in the queue of a leg's registration
	wake  chan struct{}
	out   chan Event
}

type legKey struct {
	id  relay.ID
	leg int
}

func newEvents() *events {
	return &events{legs: map[legKey]int{}, wake: make(chan struct{}, 1), out: make(chan Event)}
}

func (e *events) put(v Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r, ok := v.(Registered); ok {
		key := legKey{r.ID, r.Leg}
		if i, queued := e.legs[key]; queued {
			old := e.queue[i].(Registered)
			r.First, r.Moved = r.First || old.First, r.Moved || old.Moved
			if !r.Observed.IsValid() {
				r.Observed = old.Observed
			}
			e.queue[i] = r
			return
		}
		e.legs[key] = len(e.queue)
	}
	e.queue = append(e.queue, v)
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *events) take() []Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.queue
	e.queue = nil
	clear(e.legs)
	return all
}

// run hands events out until ctx ends.
func (e *events) run(ctx context.Context) {
	defer close(e.out)
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.wake:
		}
		for _, v := range e.take() {
			select {
			case <-ctx.Done():
				return
			case e.out <- v:
			}
		}
	}
}
