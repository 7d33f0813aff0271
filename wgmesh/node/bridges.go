package node

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/datapath"
	"github.com/weavewg/weavewg/l2bridge/rtnl"
	"github.com/weavewg/weavewg/wgmesh"
)

// bridges keeps the bridges of the overlay namespace what the networks ask for, and tells the datapath which captures
// there are: observe, diff, apply, observe, as with the device.
type bridges struct {
	edge     *rtnl.Edge
	datapath *datapath.Datapath
	problems *problems
	log      *zap.Logger
	replug   func() // ports are to be looked at: one is missing or has another MTU

	mu   sync.Mutex
	spec l2bridge.Spec
	wake chan struct{}
}

const (
	bridgesCalm  = 5 * time.Second
	bridgesRetry = time.Second // after a round that failed
)

func newBridges(overlay *os.File, log *zap.Logger, p *problems) (*bridges, error) {
	edge, err := rtnl.Open(overlay)
	if err != nil {
		return nil, err
	}
	return &bridges{edge: edge, problems: p, log: log, wake: make(chan struct{}, 1)}, nil
}

// want replaces the spec.
func (b *bridges) want(networks []wgmesh.Network) {
	var spec l2bridge.Spec
	for _, n := range networks {
		spec.Networks = append(spec.Networks, l2bridge.NetworkSpec{Name: n.Name, VNI: n.VNI, MTU: n.MTU})
	}
	b.mu.Lock()
	same := slices.Equal(spec.Networks, b.spec.Networks)
	b.spec = spec
	b.mu.Unlock()
	if !same {
		b.look()
	}
}

// mtu of a network, for what is plugged into it.
func (b *bridges) mtu(vni uint32) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.spec.Networks {
		if n.VNI == vni {
			return n.MTU
		}
	}
	return 0
}

func (b *bridges) look() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// run makes rounds until ctx ends.
func (b *bridges) run(ctx context.Context, dirty <-chan struct{}) error {
	timer := time.NewTimer(bridgesCalm)
	defer timer.Stop()
	news := dirty
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.wake:
		case <-news:
		case <-timer.C:
		}
		err := b.round()
		if b.problems.check("bridge", "see the log; the daemon tries again", err) && err != nil {
			b.log.Error("bridges", zap.Error(err))
		}
		news = dirty
		pause := bridgesCalm
		if err != nil { // the steps of a failing round are news themselves
			news, pause = nil, bridgesRetry
		}
		timer.Reset(pause)
	}
}

// round converges once.
func (b *bridges) round() error {
	b.mu.Lock()
	spec := b.spec
	b.mu.Unlock()
	status, err := b.edge.Observe()
	if err != nil {
		return err
	}
	ops := l2bridge.Diff(spec, status)
	if len(ops) > 0 {
		level := zap.InfoLevel
		if b.problems.has("bridge") != "" {
			level = zap.DebugLevel // again
		}
		b.log.Log(level, "repairing bridges", zap.Int("steps", len(ops)), zap.String("first", fmt.Sprintf("%T", ops[0])))
		err = b.edge.Apply(ops)
	}
	var list []datapath.Network
	for _, n := range spec.Networks {
		list = append(list, datapath.Network{
			Name: n.Name, VNI: n.VNI, Port: l2bridge.OverlayPortName(n.VNI), Capture: l2bridge.CaptureName(n.VNI), MTU: n.MTU,
		})
	}
	if setting := b.datapath.SetNetworks(list); err == nil { // a network that is not there is said already
		err = setting
	}
	if len(ops) > 0 && b.replug != nil {
		b.replug()
	}
	return err
}

func (b *bridges) close() error { return b.edge.Close() }
