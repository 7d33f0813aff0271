package node

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/wgmesh"
)

// loop is the one goroutine that owns the core: events go in, effects come out, in order. It never waits for an edge.
type loop struct {
	core    *wgmesh.Core
	events  chan wgmesh.Event
	calls   chan func(*wgmesh.Core)
	perform func(wgmesh.Effect)
	after   func(*wgmesh.Core) // every step
	log     *zap.Logger
	done    chan struct{}
}

func newLoop(core *wgmesh.Core, perform func(wgmesh.Effect), after func(*wgmesh.Core), log *zap.Logger) *loop {
	return &loop{
		core: core, perform: perform, after: after, log: log,
		events: make(chan wgmesh.Event, 1024),
		calls:  make(chan func(*wgmesh.Core)),
		done:   make(chan struct{}),
	}
}

// post hands an event to the core; after the end of the loop it is dropped.
func (l *loop) post(e wgmesh.Event) {
	select {
	case l.events <- e:
	case <-l.done:
	}
}

// ask runs f with the core and waits for it; after the end of the loop it does nothing.
func (l *loop) ask(f func(*wgmesh.Core)) {
	ran := make(chan struct{})
	select {
	case l.calls <- func(c *wgmesh.Core) { f(c); close(ran) }:
		<-ran
	case <-l.done:
	}
}

// take hands an event to the core and waits until its effects are carried out.
func (l *loop) take(e wgmesh.Event) { l.ask(func(*wgmesh.Core) { l.step(e) }) }

// run steps the core until ctx ends.
func (l *loop) run(ctx context.Context) error {
	defer close(l.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var event wgmesh.Event = wgmesh.Tick{}
		select {
		case <-ctx.Done():
			return nil
		case f := <-l.calls:
			f(l.core)
			timer.Reset(max(0, time.Until(l.core.Next())))
			continue
		case event = <-l.events:
		case <-timer.C:
		}
		l.step(event)
		timer.Reset(max(0, time.Until(l.core.Next())))
	}
}

func (l *loop) step(event wgmesh.Event) {
	effects := l.core.Step(time.Now(), event)
	l.after(l.core) // first: a hello that an effect causes carries the record of this step
	for _, effect := range effects {
		l.perform(effect)
	}
}
