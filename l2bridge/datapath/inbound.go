package datapath

import (
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/learner"
)

// inbound is one goroutine's way of frames from the tunnels to the captures.
type inbound struct {
	d         *Datapath
	receiver  *receiver
	inspector *l2bridge.Inspector
	counters  counters
	joins     map[*network]*join
	touched   []*join // those with frames in this batch

	// What the last packet was about: most packets of a batch are about the same.
	last struct {
		from   netip.Addr
		vni    uint32
		join   *join // nil: refused
		why    l2bridge.Why
		member l2bridge.Member
		src    learner.MAC
	}
}

// join gathers the frames of a batch for one network.
type join struct {
	n *network
	l2bridge.Coalescer
}

func newInbound(d *Datapath) *inbound {
	return &inbound{d: d, receiver: newReceiver(d.tunnel), inspector: l2bridge.NewInspector(), joins: map[*network]*join{}}
}

// run carries frames until the tunnel's socket fails or is closed.
func (in *inbound) run() error {
	for {
		count, err := in.receiver.read()
		if err != nil {
			return err
		}
		now := time.Now()
		networks := *in.d.byVNI.Load()
		in.last.from = netip.Addr{} // members may have changed
		for i := range count {
			from, data, size := in.receiver.packet(i)
			for len(data) > 0 {
				n := min(size, len(data))
				in.packet(now, networks, from, data[:n])
				data = data[n:]
			}
		}
		for _, j := range in.touched {
			in.inject(j)
		}
		in.touched = in.touched[:0]
		in.counters.Receives += uint64(count)
		in.d.totals.take(&in.counters)
		if len(in.joins) > len(networks) {
			clear(in.joins) // of networks that are gone
		}
	}
}

// packet checks one VXLAN packet and puts its frame among those to be injected.
func (in *inbound) packet(now time.Time, networks map[uint32]*network, from netip.Addr, packet []byte) {
	vni, frame, why := l2bridge.ParseVXLAN(packet)
	if why != l2bridge.Forwarded {
		in.counters.drop(why)
		return
	}
	l := &in.last
	if l.from != from || l.vni != vni {
		l.from, l.vni, l.src = from, vni, learner.MAC{}
		l.join, l.member, l.why = in.find(networks, from, vni)
	}
	if l.why != l2bridge.Forwarded {
		in.counters.drop(l.why)
		return
	}
	n := l.join.n
	k, why := l2bridge.ParseKey(frame)
	if why == l2bridge.Forwarded && !n.fits(frame, len(frame)) {
		why = l2bridge.TooLong
	}
	verdict := l2bridge.Verdict{Class: l2bridge.ClassOf(&k), Why: why}
	in.d.taps.tell(now, n, In, frame, verdict, []l2bridge.Member{l.member})
	if why != l2bridge.Forwarded {
		in.counters.drop(why)
		return
	}
	if k.Src != l.src {
		l.src = k.Src
		n.mu.Lock()
		n.table.Learn(now, k.Src, l.member.ID)
		n.mu.Unlock()
	}
	if l2bridge.Tells(frame, &k) {
		found, ok := in.inspector.Inspect(frame, &k)
		if !ok {
			in.counters.Malformed++
		}
		n.bind(now, found)
	}
	if l.join.Pending() == 0 {
		in.touched = append(in.touched, l.join)
	}
	l.join.Add(frame, &k)
	in.counters.frame(In, verdict.Class, 1, len(frame))
}

// find returns where the frames of this sender and network go, or why they are refused.
func (in *inbound) find(networks map[uint32]*network, from netip.Addr, vni uint32) (*join, l2bridge.Member, l2bridge.Why) {
	n := networks[vni]
	if n == nil {
		return nil, l2bridge.Member{}, l2bridge.UnknownVNI
	}
	member, ok := n.members.Load().At(from)
	if !ok {
		return nil, l2bridge.Member{}, l2bridge.NotMember
	}
	j := in.joins[n]
	if j == nil {
		j = &join{n: n}
		in.joins[n] = j
	}
	return j, member, l2bridge.Forwarded
}

// inject writes the frames of a batch to the network's capture.
func (in *inbound) inject(j *join) {
	frames := j.Flush()
	p := j.n.port.Load()
	if p == nil {
		in.counters.Drops[l2bridge.InjectFailed] += uint64(len(frames))
		return
	}
	j.Disabled = !p.Offloads()
	for i := range frames {
		if frames[i].Offload.Kind != l2bridge.Whole {
			in.counters.Joined++
		}
	}
	failed, err := p.Write(frames)
	in.counters.Injections += uint64(len(frames))
	if err != nil {
		in.counters.Drops[l2bridge.InjectFailed] += uint64(failed)
		in.d.opts.Logger.Debug("frames not injected", zap.String("network", j.n.Name), zap.Int("frames", failed), zap.Error(err))
	}
}
