package rtnl

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// OpenTarget opens the network namespace that a pid or a path names, and refuses what cannot be plugged in: something
// else than a network namespace, the overlay's own, or the host's (which Expose is for). The caller closes it.
func (e *Edge) OpenTarget(target string) (*os.File, error) {
	path := target
	if pid, err := strconv.ParseUint(target, 10, 31); err == nil {
		path = fmt.Sprintf("/proc/%d/ns/net", pid)
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("there is no process %d", pid)
		}
	} else if !strings.HasPrefix(target, "/") {
		return nil, fmt.Errorf("%q is neither a process id nor the path of a network namespace", target)
	}
	ns, err := netns.Open(path)
	if err != nil {
		return nil, err
	}
	if netns.Same(ns, e.host) {
		return nil, errors.Join(fmt.Errorf("%s is in the host's own network namespace: use expose", target), ns.Close())
	}
	if err := e.refuseOverlay(ns); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", target, err), ns.Close())
	}
	return ns, nil
}

func (e *Edge) refuseOverlay(ns *os.File) error {
	if netns.Same(ns, e.overlay) {
		return errors.New("that is weavewg's own overlay namespace")
	}
	return nil
}
