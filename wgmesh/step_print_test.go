package wgmesh

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// clone copies a world, so that each of the things that may happen next happens in a copy of its own.
func (p *pair) clone() *pair {
	c := *p
	c.fabric = p.fabric.clone()
	c.dark = slices.Clone(p.dark)
	for i, e := range p.ends {
		c.inbox[i] = slices.Clone(p.inbox[i])
		c.ends[i] = cloneEnd(e)
	}
	return &c
}

func cloneEnd(e *end) *end {
	c := *e
	c.tunnels = make([]*tunnel, len(e.tunnels))
	copies := make([]tunnel, len(e.tunnels))
	for i, t := range e.tunnels {
		copies[i] = *t
		c.tunnels[i] = &copies[i]
		if t == e.using {
			c.using = c.tunnels[i]
		}
		if t == e.theirUse {
			c.theirUse = c.tunnels[i]
		}
	}
	return &c
}

// imprint writes down of a world what decides how it may go on. Keys, sessions and moments have no names but the order in
// which they are met, so that worlds which differ in these alone are one.
type imprint struct {
	bytes []byte
	names []uint64
	rev   uint64 // of the leader's plan
}

// imprint is a hash of a world, with or without what may still go wrong.
func (p *pair) imprint(left bool) uint64 {
	w := &imprint{bytes: make([]byte, 0, 1024), names: make([]uint64, 0, 32), rev: p.ends[0].rev}
	if left {
		for _, n := range p.left {
			w.count(int(n))
		}
	}
	w.number(uint64(p.on))
	w.flag(p.lines[0].steady)
	for i, e := range p.ends {
		w.device(p.devices[i])
		w.end(e, p.now)
		w.count(len(p.inbox[i]))
		for _, m := range p.inbox[i] {
			w.state(m)
		}
	}
	for _, f := range p.flights {
		w.key(f.from)
		w.key(f.to)
		w.count(int(p.now.Sub(f.at) / time.Millisecond))
	}
	for _, k := range p.dark {
		w.key(k[0])
		w.key(k[1])
	}
	sum := fnv.New64a()
	sum.Write(w.bytes)
	return sum.Sum64()
}

func (w *imprint) count(n int) { w.bytes = append(w.bytes, byte(n)) }

func (w *imprint) flag(b bool) {
	if b {
		w.count(1)
	} else {
		w.count(0)
	}
}

func (w *imprint) key(k wgtypes.Key) { w.number(binary.BigEndian.Uint64(k[:])) }

func (w *imprint) number(n uint64) {
	if n == 0 {
		w.count(0)
		return
	}
	i := slices.Index(w.names, n)
	if i < 0 {
		i = len(w.names)
		w.names = append(w.names, n)
	}
	w.count(i + 1)
}

func (w *imprint) moment(t time.Time) {
	if t.IsZero() {
		w.count(0)
		return
	}
	w.number(uint64(t.UnixNano()))
}

// plan is the number of one: how far it is behind.
func (w *imprint) plan(rev uint64) { w.count(int(min(w.rev-rev, 255))) }

func (w *imprint) path(p topology.Path) {
	w.count(int(p.Kind))
	w.count(int(p.Binding[0]))
}

func (w *imprint) end(e *end, now time.Time) {
	w.number(uint64(e.session))
	w.plan(e.rev)
	w.plan(e.answered)
	w.count(int(e.wants))
	w.flag(e.why != "")
	w.number(uint64(e.saidOn))
	w.state(e.said)
	if e.leads && e.answered != e.rev {
		w.count(int(min(now.Sub(e.saidAt), repeatPlan) / (10 * time.Millisecond)))
	}
	for _, t := range e.tunnels {
		w.count(int(t.slot) + 1)
		w.flag(t == e.using)
		w.flag(t == e.theirUse)
		w.key(t.mine)
		w.key(t.key)
		w.path(t.path)
		w.count(int(t.theirStage))
		for _, b := range [...]bool{
			t.eager, t.ready.IsZero(), t.retired, t.onDevice, t.inPlace, t.dead, t.psk.install, now.Sub(t.psk.since) < pskLifetime,
		} {
			w.flag(b)
		}
		w.count(int(max(0, t.doomed.Sub(now)/(10*time.Millisecond))))
		w.flag(t.doomed.IsZero())
		w.moment(t.handshake)
		w.key(t.psk.key)
		w.number(t.psk.epoch)
		w.flag(t.psk.since.IsZero())
		if o := t.psk.offer; o != nil {
			w.key(o.key)
			w.number(o.epoch)
			w.number(uint64(o.session))
		}
	}
	w.count(0)
}

func (w *imprint) state(s topology.LinkState) {
	w.plan(s.Rev)
	w.count(int(s.Use))
	w.count(int(s.Wants))
	w.flag(s.Why != "")
	for _, t := range s.Tunnels {
		w.count(int(t.Slot) + 1)
		w.key(t.Key)
		w.key(t.PeerKey)
		w.count(int(t.Stage))
		w.number(t.Epoch)
		w.number(binary.BigEndian.Uint64(t.Check[:]))
		w.path(t.Path)
	}
	w.count(0)
}

func (w *imprint) device(d DeviceStatus) {
	for _, s := range d.Slots {
		for _, p := range s.Peers {
			w.key(p.Key)
			w.key(p.PSK)
			w.moment(p.LastHandshake)
		}
		w.count(0)
	}
	for _, r := range d.Routes {
		w.count(int(r.Slot) + 1)
	}
	w.count(0)
}
