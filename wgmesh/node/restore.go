package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/services/docker"
	"github.com/weavewg/weavewg/state"
)

// restore makes every attachment true that is not: at the start, when a container starts, when something vanished, and
// when its network got another MTU.
func (p *ports) restore(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	status, err := p.edge.Observe()
	if err != nil {
		p.log.Warn("cannot look at the ports", zap.Error(err))
		return
	}
	there := map[string]bool{}
	for _, s := range status.Ports {
		there[s.ID] = s.Bridged
	}
	var gone []state.Attachment
	for _, a := range p.list {
		id := portID(a)
		network, ok := p.node.current().Network(a.Network)
		mtu := p.node.bridges.mtu(network.VNI)
		if ok && there[id] && p.mtus[id] == mtu {
			delete(p.broken, id)
			continue
		}
		if err := p.restoreOne(ctx, a); errors.Is(err, errGone) {
			gone = append(gone, a)
			continue
		} else if err != nil {
			if p.broken[id] == "" {
				p.log.Info("port waits for its target", zap.String("target", a.Name), zap.Error(err))
			}
			p.broken[id] = err.Error()
			continue
		}
		p.mtus[id] = mtu
		delete(p.broken, id)
	}
	p.drop(gone)
	p.removeStrays(status.Ports)
}

// removeStrays unplugs what is not in the list: a daemon that died between the kernel and the disk left it.
func (p *ports) removeStrays(ports []l2bridge.PortStatus) {
	for _, s := range ports {
		if !slices.ContainsFunc(p.list, func(a state.Attachment) bool { return portID(a) == s.ID }) {
			if err := p.edge.Unplug(s.ID); err != nil {
				p.log.Warn("cannot unplug a stray port", zap.String("interface", s.Link), zap.Error(err))
			}
		}
	}
}

func (p *ports) restoreOne(ctx context.Context, a state.Attachment) error {
	network, ok := p.node.current().Network(a.Network)
	if !ok || a.Network == "" {
		return fmt.Errorf("network %s is not in the configuration any more", a.Network)
	}
	namespace := ""
	if a.Kind != state.Host {
		at, err := p.namespaceOf(ctx, a)
		if err != nil {
			return err
		}
		namespace = at
	}
	_, err := p.make(a, namespace, network)
	return err
}

// run restores until ctx ends: when something asks for it or changed, and every few seconds while a port is missing.
func (p *ports) run(ctx context.Context, dirty <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	events := docker.Watch(ctx, p.log)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-dirty:
		case <-events:
		case <-timer.C:
		}
		p.restore(ctx)
		p.mu.Lock()
		missing := len(p.broken)
		p.mu.Unlock()
		if missing > 0 {
			timer.Reset(5 * time.Second)
		}
	}
}

// look asks for a round of restore soon.
func (p *ports) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
