package datapath

import (
	"context"
	"errors"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/capture"
)

// reopenEvery is how often a capture is tried again whose interface went away.
const reopenEvery = 200 * time.Millisecond

// capture carries frames from a network's bridge to the tunnels until the context ends. A capture that fails is opened again.
func (d *Datapath) capture(ctx context.Context, n *network) {
	log := d.opts.Logger.With(zap.String("network", n.Name), zap.String("capture", n.Capture))
	for ctx.Err() == nil {
		p := n.port.Load()
		if p == nil {
			if err := d.openPort(n); err != nil {
				select {
				case <-ctx.Done():
				case <-time.After(reopenEvery):
				}
				continue
			}
			p = n.port.Load()
			log.Info("capture is back")
		}
		stop := context.AfterFunc(ctx, func() { p.Close() })
		err := newOutbound(d, n).run(p.Port)
		stop()
		n.port.Store(nil)
		d.totals.lost(p.Lost())
		p.Close()
		if !errors.Is(err, os.ErrClosed) {
			log.Warn("capture ended; opening it again", zap.Error(err))
		}
	}
	if p := n.port.Swap(nil); p != nil { // opened, but never read
		p.Close()
	}
}

// outbound is one goroutine's way of frames from a capture to the tunnels.
type outbound struct {
	d         *Datapath
	n         *network
	frames    [capture.MaxBatch]l2bridge.Frame
	segmenter l2bridge.Segmenter
	inspector *l2bridge.Inspector
	sender    *sender
	counters  counters
}

func newOutbound(d *Datapath, n *network) *outbound {
	o := &outbound{d: d, n: n, inspector: l2bridge.NewInspector()}
	log := d.opts.Logger.With(zap.String("network", n.Name))
	o.sender = newSender(d.tunnel, &o.counters, func(err error) { log.Debug("frames not sent", zap.Error(err)) })
	return o
}

// run carries frames until the capture fails or is closed.
func (o *outbound) run(p capture.Port) error {
	for {
		count, err := p.Read(o.frames[:])
		if err != nil {
			return err
		}
		now := time.Now()
		o.segmenter.Reset()
		for i := range count {
			o.frame(now, &o.frames[i])
		}
		o.sender.flush()
		o.counters.Captures += uint64(count)
		o.d.totals.take(&o.counters)
	}
}

// frame decides about one frame and hands it to the sender.
func (o *outbound) frame(now time.Time, f *l2bridge.Frame) {
	k, why := l2bridge.ParseKey(f.Data)
	if why != l2bridge.Forwarded {
		o.drop(now, f, l2bridge.Verdict{Class: l2bridge.Classes, Why: why})
		return
	}
	v := o.n.decide(now, &k)
	if l2bridge.Tells(f.Data, &k) {
		found, ok := o.inspector.Inspect(f.Data, &k)
		if !ok {
			o.counters.Malformed++
		}
		o.n.bind(now, found)
	}
	if v.Why != l2bridge.Forwarded {
		o.drop(now, f, v)
		return
	}
	size := len(f.Data)
	segmented := f.Offload.Kind != l2bridge.Whole
	o.d.taps.tell(now, o.n, Out, f.Data, v, v.To)
	segments, why := o.segmenter.Cut(f, &k, o.n.VNI)
	if why == l2bridge.Forwarded && !o.n.fits(f.Data, segments[0].Len()-l2bridge.VXLANHeader) {
		why = l2bridge.TooLong
	}
	if why != l2bridge.Forwarded {
		v.Why = why
		o.drop(now, f, v)
		return
	}
	for i := range v.To {
		for j := range segments {
			o.sender.add(v.To[i].Address, &segments[j])
		}
	}
	if segmented {
		o.counters.Segmented++
		size = 0
		for i := range segments {
			size += segments[i].Len() - l2bridge.VXLANHeader
		}
	}
	o.counters.frame(Out, v.Class, len(segments), size)
}

func (o *outbound) drop(now time.Time, f *l2bridge.Frame, v l2bridge.Verdict) {
	o.counters.drop(v.Why)
	v.To = nil
	o.d.taps.tell(now, o.n, Out, f.Data, v, nil)
}
