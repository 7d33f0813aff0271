package sim

import (
	"encoding/binary"
	"hash"
	"hash/fnv"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// trace condenses all that ever happened: two runs are the same if and only if their sums are.
type trace struct {
	sum hash.Hash64
	buf []byte
}

// Trace is the sum so far.
func (w *World) Trace() uint64 {
	if w.trace.sum == nil {
		return 0
	}
	return w.trace.sum.Sum64()
}

func (t *trace) step(now time.Time, node int, e wgmesh.Event, effects []wgmesh.Effect) {
	if t.sum == nil {
		t.sum = fnv.New64a()
	}
	t.buf = t.buf[:0]
	t.number(uint64(now.UnixNano()))
	t.number(uint64(node))
	t.event(e)
	for _, x := range effects {
		t.effect(x)
	}
	t.sum.Write(t.buf) // never fails: hash.Hash
}

func (t *trace) number(n uint64) { t.buf = binary.BigEndian.AppendUint64(t.buf, n) }
func (t *trace) text(s string)   { t.buf = append(append(t.buf, s...), 0) }
func (t *trace) id(id topology.NodeID) {
	t.buf = append(t.buf, id[:]...)
}

func (t *trace) event(e wgmesh.Event) {
	switch e := e.(type) {
	case wgmesh.Tick:
		t.text("tick")
	case wgmesh.SessionUp:
		t.text("up")
		t.number(uint64(e.ID))
		t.id(e.Peer)
	case wgmesh.SessionDown:
		t.text(e.Reason)
		t.number(uint64(e.ID))
	case wgmesh.DialFailed:
		t.text(e.Target + e.Reason)
		t.id(e.Peer)
	case wgmesh.Received:
		t.text("in")
		t.number(uint64(e.ID))
		t.message(e.Message)
	case wgmesh.RoutedOut:
		t.text("routed")
		t.number(e.Piece.Stream)
		t.number(e.Piece.Seq)
	case wgmesh.Probed:
		t.text("probed")
		t.id(e.Peer)
		t.number(uint64(e.RTT))
	case wgmesh.Observed:
		t.text("observed")
		t.number(e.Applied)
		for _, s := range e.Status.Slots {
			for _, p := range s.Peers {
				t.number(p.Rx)
				t.number(p.Tx)
				t.number(uint64(p.LastHandshake.UnixNano()))
			}
		}
	default:
		t.text("other")
	}
}

func (t *trace) effect(x wgmesh.Effect) {
	switch x := x.(type) {
	case wgmesh.Dial:
		t.text("dial " + x.Target)
	case wgmesh.OpenRouted:
		t.text("open")
		t.id(x.Peer)
	case wgmesh.DeliverRouted:
		t.text("deliver")
		t.number(x.Piece.Stream)
	case wgmesh.Send:
		t.text("send")
		t.number(uint64(x.ID))
		t.message(x.Message)
	case wgmesh.CloseSession:
		t.text("close " + x.Reason)
		t.number(uint64(x.ID))
	case wgmesh.Converge:
		t.text("converge")
		t.number(x.Generation)
		for _, s := range x.Spec.Slots {
			for _, p := range s.Peers {
				t.buf = append(t.buf, p.PSK[:4]...)
			}
		}
	case wgmesh.Publish:
		t.text("publish")
		t.number(uint64(len(x.Snapshot.Probe)))
	case wgmesh.Note:
		t.text(x.Code + x.Peer + x.Text)
	default:
		t.text("other")
	}
}

func (t *trace) message(m topology.Message) {
	switch {
	case m.Digest != nil:
		t.number(uint64(len(m.Digest.Known)))
		for _, k := range m.Digest.Known {
			t.number(k.Hash)
		}
	case m.Records != nil:
		for _, s := range m.Records {
			t.buf = append(t.buf, s.Sig[:min(8, len(s.Sig))]...)
		}
	case m.PSK != nil:
		t.number(m.PSK.Epoch)
		t.number(uint64(m.PSK.Phase))
	case m.Routed != nil:
		t.number(m.Routed.Stream)
		t.number(m.Routed.Seq)
		t.number(uint64(m.Routed.Hops))
	case m.Ping != nil:
		t.number(m.Ping.Nonce)
		t.number(m.Ping.Graph)
	case m.Pong != nil:
		t.number(m.Pong.Nonce)
		t.number(m.Pong.Graph)
	case m.Seen != nil:
		t.text(m.Seen.Addr.String())
	case m.Bye != nil:
		t.text(m.Bye.Reason)
	}
}
