package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/l2bridge/rtnl"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/state"
)

// add makes a port, or adds addresses to the one that is there.
func (p *ports) add(want state.Attachment, namespace string, network config.Network, addresses []netip.Prefix) (api.Port, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at := slices.IndexFunc(p.list, func(a state.Attachment) bool {
		return a.Kind == want.Kind && a.Target == want.Target && a.Life == want.Life && a.Network == want.Network &&
			(want.Interface == "" || want.Interface == a.Interface)
	})
	if at >= 0 {
		return p.extend(at, namespace, network, addresses)
	}
	want.MAC = newMAC().String()
	want.Addresses = withAddresses(nil, addresses)
	ifname, err := p.make(want, namespace, network)
	if err != nil {
		return api.Port{}, err
	}
	want.Interface = ifname
	list := append(slices.Clone(p.list), want)
	if err := p.store.SetAttachments(list); err != nil { // nothing half done: what is not remembered is not plugged in
		err = errors.Join(err, p.edge.Unplug(portID(want)))
		p.forget(want)
		return api.Port{}, err
	}
	p.list = list
	return p.plugged(want, network), nil
}

// extend adds addresses to a port. They are on the disk before they are on the interface: there they may be in use at once.
func (p *ports) extend(at int, namespace string, network config.Network, addresses []netip.Prefix) (api.Port, error) {
	next := p.list[at]
	next.Addresses = withAddresses(next.Addresses, addresses)
	list := slices.Clone(p.list)
	list[at] = next
	if err := p.store.SetAttachments(list); err != nil {
		return api.Port{}, err
	}
	ifname, err := p.make(next, namespace, network)
	if err != nil {
		return api.Port{}, errors.Join(err, p.store.SetAttachments(p.list))
	}
	next.Interface = ifname
	p.list = list
	p.list[at] = next
	return p.plugged(next, network), nil
}

// plugged books a port that is in place.
func (p *ports) plugged(a state.Attachment, network config.Network) api.Port {
	p.mtus[portID(a)] = p.node.bridges.mtu(network.VNI)
	delete(p.broken, portID(a))
	return p.portOf(a)
}

// withAddresses adds to a list what is not in it, and leaves the list as it is.
func withAddresses(texts []string, addresses []netip.Prefix) []string {
	texts = slices.Clone(texts)
	for _, a := range addresses {
		if !slices.Contains(texts, a.String()) {
			texts = append(texts, a.String())
		}
	}
	return texts
}

// make asks the edge for a port as the attachment says, and tells its interface's name in the target.
func (p *ports) make(a state.Attachment, namespace string, network config.Network) (string, error) {
	spec := rtnl.PortSpec{ID: portID(a), VNI: network.VNI, Interface: a.Interface, MTU: p.node.bridges.mtu(network.VNI)}
	var err error
	if spec.MAC, err = net.ParseMAC(a.MAC); err != nil {
		return "", fmt.Errorf("MAC of %s in the state: %w", a.Name, err)
	}
	if spec.Addresses, err = prefixes(a.Addresses); err != nil {
		return "", fmt.Errorf("%s in the state: %w", a.Name, err)
	}
	if namespace != "" {
		if spec.Target, err = p.edge.OpenTarget(namespace); err != nil {
			return "", err
		}
		defer spec.Target.Close()
	}
	port, err := p.edge.Plug(spec)
	return port.Interface, err
}

func prefixes(texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, err
		}
		list = append(list, prefix)
	}
	return list, nil
}
