package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/datapath"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/services/metrics"
	"github.com/weavewg/weavewg/state"
	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/topology/control"
	"github.com/weavewg/weavewg/wgmesh"
	"github.com/weavewg/weavewg/wgmesh/keeper"
	"github.com/weavewg/weavewg/wgmesh/wgdev"
)

// Run runs the node until ctx ends or somebody asks for down. Ending by ctx leaves the data plane as it is.
//
// The order matters: what can be refused is refused before anything of the host is changed; the epoch is on disk before
// anybody hears it; the device is known before the first hello, which carries its key.
func Run(ctx context.Context, o Options) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	n := &Node{opts: o, log: o.Logger, started: time.Now(), run: newRun(), stop: stop, config: o.Config, problems: newProblems()}
	n.hello.Store(&topology.Sealed{})
	defer n.close()
	if err := n.openFiles(); err != nil {
		return err
	}
	if err := n.openDataPlane(ctx); err != nil {
		return err
	}
	if err := n.openControl(ctx); err != nil {
		return err
	}
	n.opened = true
	if err := n.serve(ctx); err != nil {
		return err
	}
	if errors.Is(context.Cause(ctx), errDown) {
		return n.removeDataPlane()
	}
	n.log.Info("stopped: tunnels and bridges stay, frames between hosts wait for the next start: this datapath runs in the daemon")
	return nil
}

// openFiles takes up identity, secrets and state; nothing of the host is touched yet.
func (n *Node) openFiles() (err error) {
	c := n.config
	if n.store, err = state.Open(c.StateDir); err != nil {
		return err
	}
	if n.identity, err = control.LoadIdentity(c.IdentityFile()); errors.Is(err, os.ErrNotExist) {
		n.identity, err = control.CreateIdentity(c.IdentityFile())
	}
	if err != nil {
		return err
	}
	secrets, err := control.LoadSecrets(c.SecretFile)
	if err != nil {
		return err
	}
	proxy, err := control.ProxyFrom(c.Proxy)
	if err != nil {
		return err
	}
	n.shaker, err = control.NewHandshaker(control.Config{
		Mesh: c.Mesh, Identity: n.identity, Secrets: secrets, Logger: n.log.Named("control"), Proxy: proxy,
		Hello: func() control.LocalHello {
			return control.LocalHello{Run: n.run, Port: c.Listen.Port, Record: *n.hello.Load()}
		},
	})
	if err != nil {
		return err
	}
	n.notary, err = control.NewNotary(n.identity, c.Mesh, secrets)
	return err
}

// openDataPlane finds or makes the overlay namespace, WireGuard, the bridges and the datapath.
func (n *Node) openDataPlane(ctx context.Context) (err error) {
	c := n.config
	self := n.self()
	if err := os.MkdirAll(c.RunDir, 0o755); err != nil { // below /run it goes with every boot
		return fmt.Errorf("run_dir: %w", err)
	}
	if n.keeper, err = keeper.Ensure(ctx, keeper.Options{Binary: n.opts.Binary, RunDir: c.RunDir, NodeID: self.Short(), Logger: n.log.Named("keeper")}); err != nil {
		return err
	}
	device, err := wgdev.Open(wgdev.Options{Keeper: n.keeper, NodeID: self.Short(), Mode: wgdev.Mode(c.WireGuard), Procs: childProcs()})
	if err != nil {
		return err
	}
	n.device = device
	address := topology.OverlayAddress(c.Mesh, self)
	if err := device.Apply([]wgmesh.Op{wgmesh.AddAddress{Address: address}}); err != nil {
		return err
	}
	if n.bridges, err = newBridges(n.keeper.Namespace(), n.log.Named("bridge"), n.problems); err != nil {
		return err
	}
	n.datapath, err = datapath.New(datapath.Options{Namespace: n.keeper.Namespace(), Address: address, Logger: n.log.Named("datapath")})
	if err != nil {
		return err
	}
	n.bridges.datapath = n.datapath
	n.prober, err = newProber(n.keeper.Namespace(), address, func(e wgmesh.Event) { n.loop.post(e) }) // it runs only after the loop is made
	return err
}

// childProcs is GOMAXPROCS of the wireguard-go processes; 0 is Go's own choice. On machines of one or two processors, which
// a child shares with the daemon and with whatever makes the traffic, one is as fast for a stream and steadier for small
// packets; with more processors wireguard-go encrypts in parallel, and one would be its limit.
func childProcs() int {
	if runtime.NumCPU() <= 2 {
		return 1
	}
	return 0
}

// openControl makes the core, shows it the host and the device, and opens the control port.
func (n *Node) openControl(ctx context.Context) error {
	c := n.config
	var saved wgmesh.State
	if err := n.store.Core(&saved); err != nil {
		return err
	}
	var err error
	core := wgmesh.NewCore(n.settings(c), n.notary, saved, newRand(), newPrivateKey, time.Now())
	n.loop = newLoop(core, n.perform, n.mirror, n.log)
	n.sessions = newSessions(ctx, core.Self(), n.shaker, n.loop.post, n.log.Named("control"))
	n.reconcile = newReconciler(n.device, n.loop.post, n.busy.Load, func(err error) {
		n.problems.check("device", "see the log; the daemon tries again", err)
	}, n.log.Named("device"))

	if err := n.listen(ctx); err != nil {
		return err
	}
	if n.hostLinks, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	if n.underlay, err = readUnderlay(n.hostLinks); err != nil {
		return err
	}
	status, err := n.device.Observe()
	if err != nil {
		return err
	}
	if len(status.Slots) == 0 { // nothing of ours holds the port yet: who else does is worth a word before we try
		if err := wgdev.CheckPort("udp", c.Listen.Port); err != nil {
			return err
		}
	}
	n.loop.step(wgmesh.AddressesChanged{Addrs: n.underlay.addrs, MTU: n.underlay.mtu})
	n.loop.step(wgmesh.Observed{Status: status})
	n.reconcile.round()
	n.bridges.replug = func() { n.ports.look() }
	n.ports = newPorts(n, n.bridges.edge, n.log.Named("ports"))
	if err := n.bridges.round(); err != nil {
		return err
	}
	if err := n.ports.configure(c); err != nil {
		return err
	}
	if err := n.problems.has("device"); err != "" {
		return errors.New(err)
	}
	return nil
}

// serve runs every goroutine of the node until ctx ends, or one of them fails.
func (n *Node) serve(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	changes, err := wgdev.Watch(ctx, n.keeper.Namespace())
	if err != nil {
		return err
	}
	forDevice, forBridges, forPorts := make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	g.Go(func() error { return fanOut(ctx, changes, n.keeper.Events(), forDevice, forBridges, forPorts) })
	g.Go(func() error { return n.loop.run(ctx) })
	g.Go(func() error { return n.reconcile.run(ctx, forDevice) })
	g.Go(func() error { return n.datapath.Run(ctx) })
	g.Go(func() error { return n.prober.run(ctx) })
	g.Go(n.prober.receive)
	g.Go(func() error { <-ctx.Done(); n.prober.close(); return nil })
	g.Go(func() error { n.listener.Serve(ctx, n.sessions.accept, refuseStream); return nil })
	g.Go(func() error { <-n.loop.done; n.sessions.wait(); return nil }) // the loop is who adds tasks
	g.Go(func() error { return strangersProblem(ctx, n.listener, n.problems) })
	g.Go(func() error {
		return watchUnderlay(ctx, n.hostLinks, n.underlay, n.loop.post, func(err error) {
			n.problems.check("underlay", "see the log", err)
		})
	})
	g.Go(func() error { return n.bridges.run(ctx, forBridges) })
	g.Go(func() error { return n.watchKeeper(ctx) })
	g.Go(func() error { return n.serveAPI(ctx) })
	g.Go(func() error { return n.ports.run(ctx, forPorts) })
	if n.metrics != nil {
		g.Go(func() error { return metrics.Serve(ctx, n.metrics, n, n.log.Named("metrics")) })
	}
	return g.Wait()
}

// watchKeeper ends the node when its keeper ends: the namespace is gone with it, and a start makes a new one.
func (n *Node) watchKeeper(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-n.keeper.Done():
		if ctx.Err() == nil {
			return fmt.Errorf("%w: start weavewg again", keeper.ErrGone)
		}
		return nil
	}
}

// fanOut turns two sources of "look again" into one signal for each listener.
func fanOut[A, B any](ctx context.Context, a <-chan A, b <-chan B, listeners ...chan<- struct{}) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a:
		case <-b:
		}
		for _, l := range listeners {
			select {
			case l <- struct{}{}:
			default:
			}
		}
	}
}

// serveAPI answers the unix socket, and says that the node is ready.
func (n *Node) serveAPI(ctx context.Context) error {
	c := n.config
	n.ready.Store(true)
	if n.opts.Ready != nil {
		n.opts.Ready()
	}
	n.log.Info("ready", zap.String("mesh", c.Mesh), zap.String("id", n.self().String()))
	return api.NewServer(n, n.opts.Version, n.log.Named("api")).Serve(ctx, n.socket)
}

func (n *Node) self() topology.NodeID {
	public := n.identity.Public()
	return topology.IDOf(public[:])
}
