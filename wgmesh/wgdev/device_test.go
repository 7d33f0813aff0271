package wgdev_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTwoHostsReachEachOther(t *testing.T) {
	a, b := pair(t)
	sa, sb := a.spec(b), b.spec(a)
	a.converge(sa)
	b.converge(sb)
	begun := time.Now()
	a.ping(b.overlay, 5*time.Second)
	t.Logf("first answer after %s", time.Since(begun))
	b.ping(a.overlay, time.Second)
	for _, h := range []struct {
		*host
		ops int
	}{{a, len(a.converge(sa))}, {b, len(b.converge(sb))}} {
		if h.ops != 0 {
			t.Errorf("a second look wants %d more steps", h.ops)
		}
	}
	status := a.observe()
	if status.Kernel || status.Reason == "" {
		t.Logf("WireGuard of the kernel: %s", status.Reason)
	}
	if len(status.Slots) != 1 || len(status.Slots[0].Peers) != 1 || status.Slots[0].Peers[0].LastHandshake.IsZero() {
		t.Fatalf("observed %+v", status)
	}
	if err := a.dev.GuardProblem(); err != nil {
		t.Error(err)
	}
	_ = unix.SIGKILL
}
