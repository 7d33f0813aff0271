package node

import (
	"context"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/wgmesh"
)

// Reload reads the configuration again and applies it whole, or refuses it whole and keeps the old one.
func (n *Node) Reload(context.Context) (api.ReloadResult, error) {
	next, err := n.opts.Load()
	if err != nil {
		return api.ReloadResult{}, api.Errorf(api.CodeFailed, "%v; the running configuration stays", err)
	}
	result, err := n.reload(next)
	if err != nil {
		return result, err
	}
	n.loop.post(wgmesh.Configured{Settings: n.settings(next)})
	return result, n.ports.configure(next)
}

// reload takes next as the configuration, unless a change in it needs a restart.
func (n *Node) reload(next *config.Config) (api.ReloadResult, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	result := api.ReloadResult{Schema: api.ReloadSchema, Changed: []string{}}
	for _, change := range config.Diff(n.config, next) {
		if change.Restart {
			return api.ReloadResult{}, api.Errorf(api.CodeFailed, "%s takes effect only at a restart; nothing was changed", change.Key)
		}
		result.Changed = append(result.Changed, change.Key)
	}
	if err := n.opts.Level.UnmarshalText([]byte(next.Log.Level)); err != nil {
		return api.ReloadResult{}, api.Errorf(api.CodeFailed, "log.level: %v", err)
	}
	n.config = next
	return result, nil
}
