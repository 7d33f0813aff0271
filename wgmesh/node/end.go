package node

import (
	"context"
	"errors"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/wgmesh/keeper"
)

// removeDataPlane ends everything that outlives the daemon; with purge also what it knows and is.
func (n *Node) removeDataPlane() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := keeper.Stop(ctx, n.config.RunDir)
	if n.purge.Load() {
		err = errors.Join(err, n.store.Purge(), os.Remove(n.config.IdentityFile()))
	}
	n.log.Info("down: the data plane is removed")
	return err
}

// close lets go of what was opened; what stays in the kernel stays.
func (n *Node) close() {
	if n.listener != nil {
		n.listener.Close()
	}
	if n.metrics != nil {
		n.metrics.Close()
	}
	if n.socket != nil {
		n.socket.Close()
	}
	if n.hostLinks != nil {
		n.hostLinks.Close()
	}
	var failed []error
	if n.bridges != nil {
		failed = append(failed, n.bridges.close())
	}
	if n.device != nil {
		failed = append(failed, n.device.Close())
	}
	switch {
	case n.keeper == nil:
	case !n.opened && n.keeper.Started(): // a start that failed leaves nothing half done
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		failed = append(failed, n.keeper.Stop(ctx))
	default:
		failed = append(failed, n.keeper.Close())
	}
	if n.store != nil {
		failed = append(failed, n.store.Close())
	}
	if err := errors.Join(failed...); err != nil {
		n.log.Warn("closing", zap.Error(err))
	}
}
