package node

import (
	"context"
	"fmt"
	"net/netip"
	"os"
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
type target struct{ kind, target, name, namespace string }

// resolve finds out what was typed: a path, a process id, or else a container.
func (p *ports) resolve(ctx context.Context, text string) (target, error) {
	if strings.HasPrefix(text, "/") {
		return target{state.Namespace, text, text, text}, nil
	}
	if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
		path := fmt.Sprintf("/proc/%d/ns/net", pid)
		if _, err := os.Stat(path); err == nil {
			return target{state.Process, text, text, path}, nil
		}
	}
	c, err := docker.Inspect(ctx, text)
	if err != nil {
		return target{}, api.Errorf(api.CodeNotFound, "%v", err)
	}
	if c.PID == 0 {
		return target{}, api.Errorf(api.CodeFailed, "container %s is not running: start it first", c.Name)
	}
	return target{state.Container, c.ID, c.Name, c.Namespace()}, nil
}

// namespaceOf finds the namespace of an attachment anew.
func (p *ports) namespaceOf(ctx context.Context, a state.Attachment) (string, error) {
	if a.Kind != state.Container {
		t, err := p.resolve(ctx, a.Target)
		return t.namespace, err
	}
	c, err := docker.Inspect(ctx, a.Target)
	if err != nil {
		return "", err
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
