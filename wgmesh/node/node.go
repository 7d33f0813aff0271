package node

import (
	"context"
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/datapath"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/state"
	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/topology/control"
	"github.com/weavewg/weavewg/wgmesh"
	"github.com/weavewg/weavewg/wgmesh/keeper"
)

// Options say what node to run.
type Options struct {
	Config  *config.Config
	Load    func() (*config.Config, error) // reads the configuration again, for reload
	Version string                         // of the program
	Binary  string                         // whose keeper command is started; "": the running one
	Logger  *zap.Logger
	Level   zap.AtomicLevel
	Ready   func() // called once, when sockets and datapath stand
}

// Node is one running node.
type Node struct {
	opts    Options
	log     *zap.Logger
	started time.Time
	run     [8]byte
	stop    context.CancelCauseFunc

	reloading sync.Mutex // one at a time
	mu        sync.Mutex // guards config
	config    *config.Config

	identity  *control.Identity
	shaker    *control.Handshaker
	notary    topology.Notary
	store     *state.Store
	keeper    *keeper.Client
	opened    bool // everything that can be refused was not
	device    wgmesh.Device
	hostLinks *netlink.Handle
	underlay  underlay // at the start
	problems  *problems

	loop      *loop
	sessions  *sessions
	listener  *control.Listener
	metrics   net.Listener // nil: off
	socket    *api.Socket
	reconcile *reconciler
	prober    *prober
	datapath  *datapath.Datapath
	bridges   *bridges
	ports     *ports

	busy     atomic.Bool
	snapshot atomic.Pointer[wgmesh.Snapshot]
	hello    atomic.Pointer[topology.Sealed]
	ready    atomic.Bool
	purge    atomic.Bool
}

// errDown ends Run after weavewg down.
var errDown = fmt.Errorf("taken down")

// perform carries out one effect; it is called by the loop, in order, and never waits for the network.
func (n *Node) perform(effect wgmesh.Effect) {
	switch e := effect.(type) {
	case wgmesh.Dial:
		n.sessions.dial(e.Target)
	case wgmesh.OpenRouted:
		n.sessions.openRouted(e.Peer)
	case wgmesh.DeliverRouted:
		n.sessions.deliver(e.Piece)
	case wgmesh.Send:
		n.sessions.send(e.ID, e.Message)
	case wgmesh.CloseSession:
		n.sessions.closeSession(e.ID, e.Reason)
	case wgmesh.Converge:
		n.reconcile.want(e)
	case wgmesh.Publish:
		n.publish(e.Snapshot)
	case wgmesh.Persist:
		n.persist(e.State)
	case wgmesh.Note:
		n.note(e)
	}
}

// publish gives a snapshot to those who carry and probe.
func (n *Node) publish(s wgmesh.Snapshot) {
	n.snapshot.Store(&s)
	members := datapath.Members{}
	for _, network := range s.Networks {
		for _, m := range network.Members {
			members[network.VNI] = append(members[network.VNI], l2bridge.Member{ID: m.ID, Address: m.Address})
		}
	}
	n.datapath.Publish(members)
	n.prober.watch(s.Probe)
	n.bridges.want(s.Networks)
}

func (n *Node) persist(s wgmesh.State) {
	err := n.store.SetCore(s)
	n.problems.check("state-write", "free space on, or make writable, the disk of state_dir; frames go on meanwhile", err)
}

func (n *Node) note(e wgmesh.Note) {
	fields := []zap.Field{zap.String("evt", e.Code)}
	if e.Peer != "" {
		fields = append(fields, zap.String("peer", e.Peer))
	}
	levels := map[wgmesh.Level]func(string, ...zap.Field){
		wgmesh.Debug: n.log.Debug, wgmesh.Info: n.log.Info, wgmesh.Warn: n.log.Warn, wgmesh.Error: n.log.Error,
	}
	levels[e.Level](e.Text, fields...)
}

// mirror keeps what other goroutines want to know of the core at any moment.
func (n *Node) mirror(c *wgmesh.Core) {
	n.busy.Store(c.Busy())
	if record := c.Record(); string(record.Sig) != string(n.hello.Load().Sig) {
		n.hello.Store(&record)
	}
}

// settings is the part of the configuration that the core decides by.
func (n *Node) settings(c *config.Config) wgmesh.Settings {
	s := wgmesh.Settings{
		Mesh: c.Mesh, Name: c.Node.Name, Software: n.opts.Version, Key: n.identity.Public(), Run: n.run, Port: c.Listen.Port,
		Advertise: c.Advertise, Targets: c.Peers, ForgetAfter: c.ForgetAfter,
	}
	for _, network := range c.Networks {
		s.Networks = append(s.Networks, wgmesh.NetworkSettings{
			NetworkRef: topology.NetworkRef{Name: network.Name, VNI: network.VNI}, MTU: network.MTU,
		})
	}
	return s
}

// view asks the core; it is empty when the node is ending.
func (n *Node) view() (v wgmesh.View) {
	n.loop.ask(func(c *wgmesh.Core) { v = c.View() })
	return v
}

func newRun() (run [8]byte) {
	_, _ = rand.Read(run[:]) // never fails: crypto/rand
	return run
}

// newRand is the core's source of jitter and choices; nothing secret comes from it.
func newRand() *mrand.Rand {
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	return mrand.New(mrand.NewChaCha8(seed))
}

func newPrivateKey() wgtypes.Key {
	var k wgtypes.Key
	_, _ = rand.Read(k[:])
	k[0] &= 248 // clamped as wgtypes.GeneratePrivateKey does
	k[31] = k[31]&127 | 64
	return k
}
