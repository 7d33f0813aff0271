package forwarder

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/wgmesh/relay"
)

// Forwarder owns the sockets of a relay. Its methods may be called from any goroutine.
type Forwarder struct {
	log     *zap.Logger
	port    uint16
	sockets []*socket // of one family each
	events  *events

	mu    sync.Mutex
	table *relay.Table
	// sources are our addresses at which legs know us: on a host with several, an answer from another one does not come
	// through a NAT. Of addresses that no leg is at any more, sweep forgets them.
	sources map[netip.AddrPort]netip.Addr

	received, receivedBytes, sent, sentBytes atomic.Uint64
	dropped                                  [relay.Verdicts]atomic.Uint64 // beside the table's

	complained time.Time // of a failed send, under mu
}

// Counters tell what went through the sockets.
type Counters struct {
	ReceivedPackets, ReceivedBytes uint64
	SentPackets, SentBytes         uint64
	Drops                          [relay.Verdicts]uint64 // by reason; nothing at relay.Forwarded
}

// sweepEvery is how soon after its end a binding or a flow goes.
const sweepEvery = time.Second

// Open binds one port for IPv4 and IPv6, in the network namespace of the calling thread; a host may lack one of the two. An
// error of a port that is taken is unix.EADDRINUSE. Port 0 takes any that is free for both.
func Open(port uint16, limits relay.Limits, log *zap.Logger) (*Forwarder, error) {
	const tries = 16 // for port 0: what is free for IPv4 may be taken for IPv6
	for try := 1; ; try++ {
		f, err := open(port, limits, log)
		if err == nil || port != 0 || try == tries || !errors.Is(err, unix.EADDRINUSE) {
			return f, err
		}
	}
}

func open(port uint16, limits relay.Limits, log *zap.Logger) (*Forwarder, error) {
	f := &Forwarder{
		log: log, port: port, events: newEvents(),
		table: relay.NewTable(limits), sources: map[netip.AddrPort]netip.Addr{},
	}
	var missing []error
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		s, err := openSocket(family, f.port, log)
		if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
			missing = append(missing, err)
			continue
		}
		if err == nil {
			f.sockets = append(f.sockets, s)
			f.port, err = s.port()
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	if len(f.sockets) == 0 {
		return nil, errors.Join(missing...)
	}
	return f, nil
}

// Port returns the port that the sockets are bound to.
func (f *Forwarder) Port() uint16 { return f.port }

// Run forwards until ctx ends; the sockets are closed then, and the events end.
func (f *Forwarder) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { _ = f.Close() }) // the readers say why they end
	defer stop()
	for _, s := range f.sockets {
		w := newWorker(f, s)
		group.Go(w.run)
	}
	group.Go(func() error { f.events.run(ctx); return nil })
	group.Go(func() error { f.sweep(ctx); return nil })
	err := group.Wait()
	if ctxErr := context.Cause(ctx); errors.Is(err, os.ErrClosed) && ctxErr != nil {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// sweep ends what is over.
func (f *Forwarder) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			f.expire(now)
		}
	}
}

func (f *Forwarder) expire(now time.Time) {
	f.mu.Lock()
	ids := f.table.Expire(now)
	f.forgetSources()
	f.mu.Unlock()
	for _, id := range ids {
		f.events.put(Expired{ID: id})
	}
}

// forgetSources keeps only those of addresses that legs are at, once there are many others. It is called with the lock held.
func (f *Forwarder) forgetSources() {
	const spare = 64
	if len(f.sources) <= 2*f.table.Len()+spare {
		return
	}
	used := make(map[netip.AddrPort]netip.Addr, len(f.sources))
	for _, b := range f.table.Bindings() {
		for _, l := range b.Legs {
			if local, ok := f.sources[l.Addr]; ok {
				used[l.Addr] = local
			}
		}
	}
	f.sources = used
}

// Bind adds a binding, or sets the end of one that is there: see relay.Table.
func (f *Forwarder) Bind(b relay.Binding) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table.Bind(time.Now(), b)
}

// Unbind ends a binding.
func (f *Forwarder) Unbind(id relay.ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.table.Unbind(id)
}

// Bindings returns what is bound, in the order of the ids.
func (f *Forwarder) Bindings() []relay.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table.Bindings()
}

// Register asks a leg, at an address, to prove that it is there: a neighbouring relay at its relay port. Its answer, if one
// comes, is an event.
func (f *Forwarder) Register(id relay.ID, leg int, to netip.AddrPort) error {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	s := f.socketFor(to)
	if s == nil {
		return fmt.Errorf("register at %s: this host has no such socket", to)
	}
	f.mu.Lock()
	datagram := f.table.Register(time.Now(), id, leg, random())
	m := meta{local: f.sources[to]}
	f.mu.Unlock()
	if datagram == nil {
		return fmt.Errorf("register at %s: there is no binding %s", to, id)
	}
	var at name
	at.set(to)
	if errno := s.one(&at, m, datagram); errno != 0 {
		return s.refused(to, len(datagram), errno)
	}
	f.sent.Add(1)
	f.sentBytes.Add(uint64(len(datagram)))
	return nil
}

// random returns the number of a request.
func random() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return binary.BigEndian.Uint64(b[:])
}

func (f *Forwarder) socketFor(to netip.AddrPort) *socket {
	for _, s := range f.sockets {
		if to.Addr().Is4() == (s.family == unix.AF_INET) {
			return s
		}
	}
	return nil
}

// Events are to be read until they end, with Run.
func (f *Forwarder) Events() <-chan Event { return f.events.out }

// Counters returns what went through so far.
func (f *Forwarder) Counters() Counters {
	c := Counters{
		ReceivedPackets: f.received.Load(), ReceivedBytes: f.receivedBytes.Load(),
		SentPackets: f.sent.Load(), SentBytes: f.sentBytes.Load(),
	}
	f.mu.Lock()
	decided := f.table.Counters()
	f.mu.Unlock()
	for v := relay.Forwarded + 1; v < relay.Verdicts; v++ {
		c.Drops[v] = decided[v].Packets + f.dropped[v].Load()
	}
	for _, s := range f.sockets {
		c.Drops[relay.Overflow] += s.lost()
	}
	return c
}

// Close closes the sockets; Run ends.
func (f *Forwarder) Close() error {
	var errs []error
	for _, s := range f.sockets {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
