package node

import (
	"context"

	"go.uber.org/zap/zapcore"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/wgmesh"
)

// Reload reads the configuration again and applies it whole, or refuses it whole and keeps the old one.
func (n *Node) Reload(context.Context) (api.ReloadResult, error) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	next, err := n.opts.Load()
	if err != nil {
		return api.ReloadResult{}, api.Errorf(api.CodeFailed, "%v; the running configuration stays", err)
	}
	result := api.ReloadResult{Schema: api.ReloadSchema, Changed: []string{}}
	for _, change := range config.Diff(n.current(), next) {
		if change.Restart {
			return api.ReloadResult{}, api.Errorf(api.CodeFailed, "%s takes effect only at a restart; nothing was changed", change.Key)
		}
		result.Changed = append(result.Changed, change.Key)
	}
	level, err := zapcore.ParseLevel(next.Log.Level)
	if err != nil {
		return api.ReloadResult{}, api.Errorf(api.CodeFailed, "log.level: %v", err)
	}
	// The only step that can still fail comes first.
	if err := n.ports.configure(next); err != nil {
		return api.ReloadResult{}, api.Errorf(api.CodeFailed, "%v; the running configuration stays", err)
	}
	n.opts.Level.SetLevel(level)
	n.mu.Lock()
	n.config = next
	n.mu.Unlock()
	n.loop.take(wgmesh.Configured{Settings: n.settings(next)})
	n.ports.look()
	return result, nil
}
