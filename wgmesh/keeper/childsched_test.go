package keeper

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// On a small machine no thread of a child takes the processor from the one whose packet woke it.
func TestChildYieldsOnASmallMachine(t *testing.T) {
	c := started(t, host(t), t.TempDir())
	for procs, want := range map[int]uint32{0: unix.SCHED_NORMAL, 1: unix.SCHED_BATCH} {
		name := deviceName(t)
		pid, err := c.WireGuard(t.Context(), name, 1420, procs)
		must(t, err)
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		must(t, err)
		for _, task := range tasks {
			id, err := strconv.Atoi(task.Name())
			must(t, err)
			if attr, err := unix.SchedGetAttr(id, 0); err == nil && attr.Policy != want {
				t.Errorf("with %d processors a thread has policy %d, not %d", procs, attr.Policy, want)
			}
		}
		must(t, c.Drop(t.Context(), name))
	}
}
