package forwarder

import (
	"encoding/binary"
	"net/netip"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/wgmesh/relay"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// worker takes what one socket receives, and sends it on by either.
type worker struct {
	f    *Forwarder
	in   *receiver
	out4 *sender // nil where the host has no such socket
	out6 *sender
	said []Event // under the lock, told after it

	to    netip.AddrPort // where the last one went
	local netip.Addr     // from which address of ours
}

func newWorker(f *Forwarder, s *socket) *worker {
	w := &worker{f: f, in: newReceiver(s)}
	for _, s := range f.sockets {
		o := newSender(s)
		o.failed, o.stale = f.sendFailed, f.forgetSource
		if s.family == unix.AF_INET {
			w.out4 = o
		} else {
			w.out6 = o
		}
	}
	return w
}

// run returns os.ErrClosed once the socket is closed.
func (w *worker) run() error {
	for {
		n, err := w.in.read()
		if err != nil {
			return err
		}
		w.batch(time.Now(), n)
	}
}

// batch decides about n receives and sends what is to be sent.
func (w *worker) batch(now time.Time, n int) {
	var packets, bytes uint64
	for i := 0; i < n; {
		w.f.mu.Lock()
		w.to = netip.AddrPort{} // what is remembered holds under one lock
		for ; i < n && w.room(); i++ {
			from, data, size, m := w.in.packet(i)
			bytes += uint64(len(data))
			for {
				run, count := first(data, size)
				w.decide(now, from, run, size, count, m)
				packets += uint64(count)
				if data = data[len(run):]; len(data) == 0 {
					break
				}
			}
		}
		w.f.mu.Unlock()
		w.flush()
	}
	w.f.received.Add(packets)
	w.f.receivedBytes.Add(bytes)
}

// room says whether another receive fits in before a flush, were each of its datagrams alone.
func (w *worker) room() bool {
	const most = 128 // UDP_MAX_SEGMENTS since Linux 6.9
	return (w.out4 == nil || w.out4.room(most)) && (w.out6 == nil || w.out6.room(most))
}

func (w *worker) flush() {
	for _, o := range []*sender{w.out4, w.out6} {
		if o == nil || o.n == 0 {
			continue
		}
		o.flush()
		w.f.sent.Add(o.sent)
		w.f.sentBytes.Add(o.bytes)
		o.sent, o.bytes = 0, 0
	}
	for _, e := range w.said {
		w.f.events.put(e)
	}
	w.said = w.said[:0]
}

// first returns the first datagram of a receive, with those behind it that are data of the same session.
func first(data []byte, size int) (run []byte, count int) {
	const header = 8 // type and receiver's index
	end := min(size, len(data))
	if end < header || data[0] != transport {
		return data[:end], 1
	}
	for count = 1; end < len(data); count++ {
		next := data[end:min(end+size, len(data))]
		if len(next) < shortest || string(next[:header]) != string(data[:header]) {
			break
		}
		end += len(next)
	}
	return data[:end], count
}

// WireGuard's data, which alone comes in runs: the first byte of its messages (type 4 in little endian), and their least
// length.
const (
	transport = 4
	shortest  = 32
)

// decide decides about one datagram or a run of data, with the lock held.
func (w *worker) decide(now time.Time, from netip.AddrPort, run []byte, size, count int, m meta) {
	p := run[:min(size, len(run))]
	if scout.Is(p) {
		w.scout(now, from, p, m)
		return
	}
	if m.ttl <= 1 {
		w.f.dropped[relay.Hops].Add(uint64(count))
		return
	}
	to, why := w.f.table.Run(now, from, p, count, len(run))
	switch why {
	case relay.Forwarded:
		s := session{to: to, index: binary.LittleEndian.Uint32(p[4:]), alone: p[0] != transport, meta: meta{ttl: m.ttl - 1, tos: m.tos}}
		w.send(s, run, size, count)
	case relay.NoFlow, relay.Unregistered, relay.Unproven:
		if id, leg, at, ok := w.f.table.Ask(now, from, p); ok {
			w.question(at, w.f.table.Register(now, id, leg, random()))
		}
	}
}

// scout hears a registration, with the lock held.
func (w *worker) scout(now time.Time, from netip.AddrPort, p []byte, m meta) {
	answer, r := w.f.table.Hear(now, from, p)
	if r == nil && answer == nil {
		w.f.dropped[relay.Scout].Add(1)
		return
	}
	if m.local.IsValid() {
		w.f.sources[from] = m.local
		w.to = netip.AddrPort{}
	}
	switch {
	case r == nil:
	case r.Ask:
		answer = w.f.table.Register(now, r.ID, r.Leg, random())
	default:
		w.said = append(w.said, Registered{ID: r.ID, Leg: r.Leg, Addr: r.Addr, First: r.First, Moved: r.Moved, Observed: r.Observed})
	}
	if answer != nil {
		w.question(from, answer)
	}
}

// question sends a scout, with the lock held.
func (w *worker) question(to netip.AddrPort, p []byte) {
	w.send(session{to: to, alone: true}, p, len(p), 1)
}

// send puts datagrams into the right sender, with the lock held.
func (w *worker) send(s session, run []byte, size, count int) {
	o := w.out6
	if s.to.Addr().Is4() {
		o = w.out4
	}
	if o == nil || !o.room(count) {
		w.f.dropped[relay.SendFailed].Add(uint64(count))
		return
	}
	if s.to != w.to {
		w.to, w.local = s.to, w.f.sources[s.to]
	}
	s.meta.local = w.local
	o.add(s, run, size)
}

// complainEvery keeps a path that refuses every packet out of the log.
const complainEvery = time.Minute

func (f *Forwarder) sendFailed(datagrams int, err error) {
	f.dropped[relay.SendFailed].Add(uint64(datagrams))
	now := time.Now()
	f.mu.Lock()
	quiet := now.Sub(f.complained) < complainEvery
	if !quiet {
		f.complained = now
	}
	f.mu.Unlock()
	if !quiet {
		f.log.Warn("the relay cannot send", zap.Error(err))
	}
}

// forgetSource is told that our address which a peer knows us at is ours no more.
func (f *Forwarder) forgetSource(to netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sources, to)
}
