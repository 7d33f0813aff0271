package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/services/docker"
	"github.com/weavewg/weavewg/state"
)

// errGone says that the target of an attachment will not come back: its container was removed, its process has ended.
var errGone = errors.New("gone for good")

// targetError makes errGone of what an engine says of a container that it does not know any more.
func targetError(err error) error {
	if errors.Is(err, docker.ErrNoContainer) {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return err
}

// lifeOf tells a process from a later one with the same id: when it started, in ticks after a boot that is named
// (proc(5), field 22 of stat).
func lifeOf(pid string) (string, error) {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", fmt.Errorf("process %s is %w", pid, errGone)
	}
	// The second field is a name in brackets that may hold anything.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return "", fmt.Errorf("process %s: /proc shows no start", pid)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return fields[19] + "@" + strings.TrimSpace(string(boot)), err
}

// drop forgets attachments whose target is gone for good; the caller holds p.mu.
func (p *ports) drop(gone []state.Attachment) {
	if len(gone) == 0 {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(p.list), func(a state.Attachment) bool {
		return slices.ContainsFunc(gone, func(g state.Attachment) bool { return portID(g) == portID(a) })
	})
	if err := p.store.SetAttachments(rest); err != nil {
		p.log.Warn("cannot write down what is not attached any more", zap.Error(err))
		return // the next round tries again
	}
	p.list = rest
	for _, a := range gone {
		p.log.Info("detached: the target is gone", zap.String("target", a.Name), zap.String("network", a.Network))
		p.forget(a)
	}
}
