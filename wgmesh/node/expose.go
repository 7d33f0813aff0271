package node

import (
	"context"
	"slices"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/state"
)

// configured is the Name of a host port that networks[].address of the configuration asks for.
const configured = "networks[].address"

// expose plugs the host itself in.
func (p *ports) expose(r api.ExposeRequest) (api.Port, error) {
	network, ok := p.node.current().Network(r.Network)
	if !ok {
		return api.Port{}, api.Errorf(api.CodeNotFound, "no network %q here: %s", r.Network, p.networkNames())
	}
	addresses, err := parseAddresses(r.Addresses)
	if err != nil {
		return api.Port{}, err
	}
	if len(addresses) == 0 {
		return api.Port{}, api.Errorf(api.CodeUsage, "expose needs an address such as 10.32.0.1/12")
	}
	return p.add(state.Attachment{Kind: state.Host, Network: network.Name}, "", network, addresses)
}

// hide undoes expose.
func (p *ports) hide(ctx context.Context, r api.ExposeRequest) error {
	addresses, err := parseAddresses(r.Addresses)
	if err != nil {
		return err
	}
	return p.remove(ctx, func(a state.Attachment) bool { return a.Kind == state.Host }, r.Network, addresses, "the host is not exposed")
}

// configure makes the host's ports what networks[].address says: what an earlier configuration asked for is unplugged, and
// what this one asks for is put on the list, to be plugged in by the next restore.
func (p *ports) configure(c *config.Config) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := map[string]string{}
	for _, network := range c.Networks {
		if network.Address.IsValid() {
			wanted[network.Name] = network.Address.String()
		}
	}
	var list, gone []state.Attachment
	for _, a := range p.list {
		if a.Kind == state.Host && a.Name == configured {
			if !slices.Equal(a.Addresses, []string{wanted[a.Network]}) {
				gone = append(gone, a)
				continue
			}
			delete(wanted, a.Network)
		}
		list = append(list, a)
	}
	for _, network := range c.Networks {
		if address, ok := wanted[network.Name]; ok {
			list = append(list, state.Attachment{
				Kind: state.Host, Name: configured, Network: network.Name, MAC: newMAC().String(), Addresses: []string{address},
			})
		}
	}
	if slices.EqualFunc(list, p.list, func(x, y state.Attachment) bool { return x.MAC == y.MAC }) {
		return nil
	}
	defer p.look()
	return p.shrink(list, gone)
}
