package datapath

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/capture"
	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/learner"
)

// Options of a Datapath.
type Options struct {
	Namespace *os.File   // the overlay network namespace; nil: the current one
	Address   netip.Addr // the node's overlay address, where the tunnels end
	Logger    *zap.Logger
	Limits    learner.Limits // of each network's table
	// Open opens a capture, in the overlay namespace; nil: the best that this build has.
	Open func(ifname string) (capture.Port, error)
}

// Datapath carries the frames of this node's networks. All methods may be called from any goroutine.
type Datapath struct {
	opts   Options
	tunnel *tunnel
	totals totals
	taps   taps

	mu       sync.Mutex // over changes of networks
	ctx      context.Context
	networks map[uint32]*network
	members  map[uint32]*l2bridge.Members // of the last Publish

	byVNI atomic.Pointer[map[uint32]*network] // what the receiver sees
}

// New binds the tunnels' socket. Frames flow once Run was called, SetNetworks named networks and Publish their members.
func New(o Options) (*Datapath, error) {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Open == nil {
		o.Open = capture.Open
	}
	d := &Datapath{opts: o, networks: map[uint32]*network{}}
	d.byVNI.Store(&map[uint32]*network{})
	err := d.inside(func() (err error) {
		d.tunnel, err = openTunnel(o.Address, o.Logger)
		return err
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// inside runs f in the overlay namespace: sockets stay in the namespace in which they were made.
func (d *Datapath) inside(f func() error) error {
	if d.opts.Namespace == nil {
		return f()
	}
	return netns.Do(d.opts.Namespace, f)
}

// Run carries frames until the context ends, and closes everything. It must be called once.
func (d *Datapath) Run(ctx context.Context) error {
	d.mu.Lock()
	d.ctx = ctx
	for _, n := range d.networks {
		d.start(n)
	}
	d.mu.Unlock()

	stop := context.AfterFunc(ctx, d.tunnel.close)
	defer stop()
	sweeping := make(chan struct{})
	go func() {
		defer close(sweeping)
		d.sweep(ctx)
	}()
	err := newInbound(d).run()
	<-ctx.Done() // a broken tunnel socket ends with the node: the error below is the reason to restart
	<-sweeping
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.networks {
		n.stop()
	}
	d.tunnel.close()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// sweep frees the room of MACs that aged.
func (d *Datapath) sweep(ctx context.Context) {
	tick := time.NewTicker(learner.DefaultAge / 10)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, n := range *d.byVNI.Load() {
				n.mu.Lock()
				n.table.Expire(now)
				n.mu.Unlock()
			}
		}
	}
}

// SetNetworks makes these the networks that are carried: it opens captures of new ones, closes those of removed ones,
// and leaves the others alone. Networks whose capture cannot be opened are left out, and named in the error; calling again tries again.
func (d *Datapath) SetNetworks(list []Network) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := make(map[uint32]*network, len(list))
	var failed []error
	for _, want := range list {
		if n := d.networks[want.VNI]; n != nil && n.Network == want {
			next[want.VNI] = n
			continue
		}
		n, err := d.add(want)
		if err != nil {
			failed = append(failed, fmt.Errorf("network %s: %w", want.Name, err))
			continue
		}
		next[want.VNI] = n
	}
	old := d.networks
	d.networks = next
	d.byVNI.Store(&next)
	for vni, n := range old {
		if next[vni] != n {
			n.stop()
		}
	}
	return errors.Join(failed...)
}

// add opens the capture of a network. What was learnt of it before, under another MTU for example, stays.
func (d *Datapath) add(want Network) (*network, error) {
	n := &network{Network: want, stop: func() {}}
	if old := d.networks[want.VNI]; old != nil {
		old.stop()
		n.table = old.table
	} else {
		n.table = learner.New(d.opts.Limits)
	}
	members := d.members[want.VNI]
	if members == nil {
		members = l2bridge.NewMembers(nil)
	}
	n.members.Store(members)
	if err := d.openPort(n); err != nil {
		return nil, err
	}
	n.stop = func() {
		if p := n.port.Swap(nil); p != nil {
			p.Close()
		}
	}
	if d.ctx != nil {
		d.start(n)
	}
	return n, nil
}

func (d *Datapath) openPort(n *network) error {
	return d.inside(func() error {
		p, err := d.opts.Open(n.Capture)
		if err != nil {
			return err
		}
		if n.Port != "" {
			if err := capture.Prepare(n.Port, p.Offloads()); err != nil {
				p.Close()
				return err
			}
		}
		n.port.Store(&openPort{p})
		return nil
	})
}

// start lets a goroutine read the network's capture until stop.
func (d *Datapath) start(n *network) {
	ctx, cancel := context.WithCancel(d.ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.capture(ctx, n)
	}()
	n.stop = func() {
		cancel()
		<-done
	}
}

// Members of the networks, by VNI.
type Members map[uint32][]l2bridge.Member

// Publish replaces the members of all networks: who gets their frames, and from whom frames are accepted. MACs behind
// peers that are no longer members stay learnt until they age, and their frames are dropped meanwhile: links come back.
func (d *Datapath) Publish(m Members) {
	sets := make(map[uint32]*l2bridge.Members, len(m))
	for vni, list := range m {
		sets[vni] = l2bridge.NewMembers(list)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.members = sets
	for vni, n := range d.networks {
		set := sets[vni]
		if set == nil {
			set = l2bridge.NewMembers(nil)
		}
		n.members.Store(set)
	}
}
