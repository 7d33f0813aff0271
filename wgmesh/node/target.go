package node

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/services/docker"
	"github.com/weavewg/weavewg/state"
)

// parseAddresses reads the address arguments of attach and expose.
func parseAddresses(args []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range args {
		switch text {
		case "none":
			if len(args) > 1 {
				return nil, api.Errorf(api.CodeUsage, "none goes with no address")
			}
			return nil, nil
		case "auto":
			return nil, api.Errorf(api.CodeUsage, "auto: handing out addresses is not yet in this version: give an address such as 10.32.0.5/12, or none")
		}
		prefix, err := config.Address(text)
		if err != nil {
			return nil, api.Errorf(api.CodeUsage, "%v", err)
		}
		if !slices.Contains(list, prefix) {
			list = append(list, prefix)
		}
	}
	return list, nil
}

// target is what an argument of attach means.
type target struct{ kind, target, name, namespace, life string }

// resolve finds out what was typed: a path, a process id, or else a container.
func (p *ports) resolve(ctx context.Context, text string) (target, error) {
	if strings.HasPrefix(text, "/") {
		return target{kind: state.Namespace, target: text, name: text, namespace: text}, nil
	}
	if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
		path := fmt.Sprintf("/proc/%d/ns/net", pid)
		if life, err := lifeOf(text); err == nil {
			return target{kind: state.Process, target: text, name: text, namespace: path, life: life}, nil
		}
	}
	c, err := docker.Inspect(ctx, text)
	if err != nil {
		return target{}, api.Errorf(api.CodeNotFound, "%v", err)
	}
	if c.PID == 0 {
		return target{}, api.Errorf(api.CodeFailed, "container %s is not running: start it first", c.Name)
	}
	return target{kind: state.Container, target: c.ID, name: c.Name, namespace: c.Namespace()}, nil
}

// namespaceOf finds the namespace of an attachment anew.
func (p *ports) namespaceOf(ctx context.Context, a state.Attachment) (string, error) {
	switch a.Kind {
	case state.Namespace:
		return a.Target, nil
	case state.Process:
		life, err := lifeOf(a.Target)
		if err == nil && a.Life != life {
			err = fmt.Errorf("process %s is another one by now: the old one is %w", a.Target, errGone)
		}
		return fmt.Sprintf("/proc/%s/ns/net", a.Target), err
	}
	c, err := docker.Inspect(ctx, a.Target)
	if err != nil {
		return "", targetError(err)
	}
	if c.PID == 0 {
		return "", fmt.Errorf("container %s is not running", c.Name)
	}
	return c.Namespace(), nil
}

// matcher says which attachments a target of detach means, also when it is gone by now.
func (p *ports) matcher(ctx context.Context, text string) func(state.Attachment) bool {
	t, err := p.resolve(ctx, text)
	return func(a state.Attachment) bool {
		return a.Target == text || a.Name == text || err == nil && a.Kind == t.kind && a.Target == t.target ||
			a.Kind == state.Container && len(text) >= 6 && strings.HasPrefix(a.Target, text)
	}
}
