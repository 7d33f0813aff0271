package node

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
	"github.com/weavewg/weavewg/wgmesh/forwarder"
	"github.com/weavewg/weavewg/wgmesh/relay"
	"github.com/weavewg/weavewg/wgmesh/wgdev"
)

// relays is the edge of the bindings that this node forwards for: it gives them to the forwarder, and asks neighbouring
// relays on their paths where they are until they answer.
type relays struct {
	forwarder *forwarder.Forwarder
	post      func(wgmesh.Event)
	log       *zap.Logger

	mu      sync.Mutex
	calls   map[leg]*call
	refused []wgmesh.RelayFailed // to be told: bind is called by the loop, which must not wait for itself
	wake    chan struct{}
}

// leg is one side of a binding.
type leg struct {
	id  relay.ID
	leg int
}

// call is a leg that is to be proven.
type call struct {
	to    []netip.AddrPort
	tries int
	next  time.Time
}

// Questions to another relay: the binding arrives there about when the first question does.
const (
	callFirst = 50 * time.Millisecond // pause after the first, doubling
	callTries = 8                     // 50 ms × 2^8: the end has given the path up by then
)

// openRelays opens the relay's port.
func openRelays(port uint16, post func(wgmesh.Event), log *zap.Logger) (*relays, error) {
	port += topology.RelayOffset
	f, err := forwarder.Open(port, relay.Limits{}, log)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, wgdev.PortTaken("udp", port)
	}
	if err != nil {
		return nil, err
	}
	return &relays{forwarder: f, post: post, log: log, calls: map[leg]*call{}, wake: make(chan struct{}, 1)}, nil
}

// bind carries out Relay.
func (r *relays) bind(x wgmesh.Relay) {
	b := relay.Binding{ID: x.ID, Owner: x.Owner, Expires: x.Expires}
	for i, l := range x.Legs {
		b.Legs[i] = relay.Leg{Node: l.Node, Key: l.Key, Scout: l.Scout}
	}
	if err := r.forwarder.Bind(b); err != nil {
		r.mu.Lock()
		r.refused = append(r.refused, wgmesh.RelayFailed{ID: x.ID, Why: err.Error()})
		r.mu.Unlock()
		r.rouse()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, l := range x.Legs {
		if key := (leg{x.ID, i}); len(l.Call) > 0 && r.calls[key] == nil {
			r.calls[key] = &call{to: l.Call}
		}
	}
	r.rouse()
}

// end carries out RelayEnd.
func (r *relays) end(id relay.ID) {
	r.forwarder.Unbind(id)
	r.answered(id, 0)
	r.answered(id, 1)
}

func (r *relays) answered(id relay.ID, side int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.calls, leg{id, side})
}

func (r *relays) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run forwards and asks until ctx ends.
func (r *relays) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return r.forwarder.Run(ctx) })
	g.Go(func() error {
		for e := range r.forwarder.Events() {
			if registered, ok := e.(forwarder.Registered); ok {
				r.answered(registered.ID, registered.Leg)
			}
		}
		return nil
	})
	g.Go(func() error { r.callAll(ctx); return nil })
	return g.Wait()
}

// callAll asks when that is due.
func (r *relays) callAll(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.wake:
		case <-timer.C:
		}
		r.mu.Lock()
		refused := r.refused
		r.refused = nil
		r.mu.Unlock()
		for _, one := range refused {
			r.post(one)
		}
		now := time.Now()
		due, next := r.due(now)
		for key, to := range due {
			for _, at := range to {
				if err := r.forwarder.Register(key.id, key.leg, at); err != nil {
					r.log.Debug("relay", zap.Error(err))
				}
			}
		}
		timer.Reset(next.Sub(now))
	}
}

// due takes what is to be asked now, and says when to look again.
func (r *relays) due(now time.Time) (due map[leg][]netip.AddrPort, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	due, next = map[leg][]netip.AddrPort{}, now.Add(time.Minute)
	for key, c := range r.calls {
		if !c.next.After(now) {
			if c.tries == callTries {
				delete(r.calls, key)
				continue
			}
			due[key] = c.to
			c.next = now.Add(callFirst << c.tries)
			c.tries++
		}
		if c.next.Before(next) {
			next = c.next
		}
	}
	return due, next
}

// count adds what went through the relay's port.
func (r *relays) count(into *api.Counters) {
	c := r.forwarder.Counters()
	into.Relay.RxBytes, into.Relay.TxBytes = c.ReceivedBytes, c.SentBytes
	for why, datagrams := range c.Drops {
		if datagrams > 0 {
			into.RelayDrops = append(into.RelayDrops, api.DropCounter{Reason: relay.Verdict(why).String(), Frames: datagrams})
		}
	}
}
