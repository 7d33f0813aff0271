package node

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/l2bridge/rtnl"
	"github.com/weavewg/weavewg/learner"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/state"
)

// ports is what is plugged in here: the list is state, and is made true again after a restart of the daemon, of the
// container or of its engine.
type ports struct {
	node  *Node
	edge  *rtnl.Edge
	store *state.Store
	log   *zap.Logger

	mu     sync.Mutex // one change at a time
	list   []state.Attachment
	broken map[string]string // id → why it is not there now
	mtus   map[string]int    // id → what it was plugged in with
	wake   chan struct{}
}

func newPorts(n *Node, edge *rtnl.Edge, log *zap.Logger) *ports {
	return &ports{node: n, edge: edge, store: n.store, log: log, list: n.store.Attachments(), broken: map[string]string{}, mtus: map[string]int{}, wake: make(chan struct{}, 1)}
}

// portID names the port of an attachment: its MAC, which is chosen once and kept in the state.
func portID(a state.Attachment) string { return a.MAC }

// newMAC makes the MAC of a new port: random, locally administered, unicast. It is kept in the state.
func newMAC() net.HardwareAddr {
	random := newRun()
	mac := net.HardwareAddr(random[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}

// attach plugs a target in and remembers it.
func (p *ports) attach(ctx context.Context, r api.AttachRequest) (api.Port, error) {
	network, ok := p.node.current().Network(r.Network)
	if !ok {
		return api.Port{}, api.Errorf(api.CodeNotFound, "no network %q here: %s", r.Network, p.networkNames())
	}
	addresses, err := parseAddresses(r.Addresses)
	if err != nil {
		return api.Port{}, err
	}
	target, err := p.resolve(ctx, r.Target)
	if err != nil {
		return api.Port{}, err
	}
	want := state.Attachment{Kind: target.kind, Target: target.target, Name: target.name, Life: target.life, Network: network.Name, Interface: r.Interface}
	return p.add(want, target.namespace, network, addresses)
}

// detach takes addresses away, or the whole port.
func (p *ports) detach(ctx context.Context, r api.DetachRequest) error {
	addresses, err := parseAddresses(r.Addresses)
	if err != nil {
		return err
	}
	match := p.matcher(ctx, r.Target)
	return p.remove(ctx, func(a state.Attachment) bool { return a.Kind != state.Host && match(a) }, r.Network, addresses, r.Target+" is not attached")
}

// remove unplugs the ports that match, or takes addresses from them; none matching is an error.
func (p *ports) remove(ctx context.Context, match func(state.Attachment) bool, network string, addresses []netip.Prefix, absent string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var rest []state.Attachment
	var gone, thinner []state.Attachment
	for _, a := range p.list {
		if !match(a) || network != "" && a.Network != network {
			rest = append(rest, a)
			continue
		}
		left := slices.DeleteFunc(slices.Clone(a.Addresses), func(text string) bool {
			return slices.ContainsFunc(addresses, func(x netip.Prefix) bool { return x.String() == text })
		})
		if len(addresses) == 0 || len(left) == 0 {
			gone = append(gone, a)
			continue
		}
		if len(left) < len(a.Addresses) {
			thinner = append(thinner, a)
			a.Addresses = left
		}
		rest = append(rest, a)
	}
	if len(gone)+len(thinner) == 0 {
		return api.Errorf(api.CodeNotFound, "%s%s", absent, inNetwork(network))
	}
	failed := []error{p.shrink(rest, gone)}
	for _, a := range thinner {
		failed = append(failed, p.thin(ctx, a, addresses))
	}
	return errors.Join(failed...)
}

// shrink makes list the list of ports, on the disk first, and unplugs those that it lost.
func (p *ports) shrink(list, gone []state.Attachment) error {
	if err := p.store.SetAttachments(list); err != nil {
		return err
	}
	p.list = list
	var failed []error
	for _, a := range gone {
		failed = append(failed, p.edge.Unplug(portID(a)))
		p.forget(a)
	}
	return errors.Join(failed...)
}

// thin takes addresses from a port that keeps others.
func (p *ports) thin(ctx context.Context, a state.Attachment, addresses []netip.Prefix) error {
	spec := rtnl.PortSpec{ID: portID(a)}
	if a.Kind != state.Host {
		path, err := p.namespaceOf(ctx, a)
		if err != nil {
			return nil // the target is gone, and its addresses with it
		}
		if spec.Target, err = p.edge.OpenTarget(path); err != nil {
			return err
		}
		defer spec.Target.Close()
	}
	_, err := p.edge.RemoveAddresses(spec, addresses)
	return err
}

func (p *ports) forget(a state.Attachment) {
	delete(p.broken, portID(a))
	delete(p.mtus, portID(a))
	network, ok := p.node.current().Network(a.Network)
	mac, err := learner.ParseMAC(a.MAC)
	if ok && err == nil {
		p.node.datapath.ForgetMAC(network.VNI, mac)
	}
}

func inNetwork(network string) string {
	if network == "" {
		return ""
	}
	return " in network " + network
}

func (p *ports) count(network string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, a := range p.list {
		if a.Network == network {
			n++
		}
	}
	return n
}

func (p *ports) all() api.Ports {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := api.Ports{Schema: api.PortsSchema, Ports: []api.Port{}}
	for _, a := range p.list {
		out.Ports = append(out.Ports, p.portOf(a))
	}
	return out
}

func (p *ports) portOf(a state.Attachment) api.Port {
	port := api.Port{
		Network: a.Network, Kind: a.Kind, Target: a.Target, Interface: a.Interface, MAC: a.MAC,
		Addresses: append([]string{}, a.Addresses...), State: "up",
	}
	if a.Kind == state.Container {
		port.Container = a.Name
	}
	if why := p.broken[portID(a)]; why != "" {
		port.State, port.Reason = "waiting", why
	}
	return port
}

func (p *ports) networkNames() string {
	var names []string
	for _, n := range p.node.current().Networks {
		names = append(names, n.Name)
	}
	if len(names) == 0 {
		return "this node is a member of no network"
	}
	return "there are " + strings.Join(names, ", ")
}
