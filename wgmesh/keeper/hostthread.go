package keeper

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// hostThread is a thread of the keeper that stays in the host's network namespace, from which children are started:
// their UDP sockets belong there. It lives as long as the keeper, because a child's parent-death signal (prctl(2),
// PR_SET_PDEATHSIG) fires when the thread that forked it ends, not only when the process does.
type hostThread struct{ calls chan func() }

// newHostThread starts the thread; close(calls) ends it.
func newHostThread(host *os.File) (*hostThread, error) {
	h := &hostThread{calls: make(chan func())}
	entered := make(chan error)
	go h.run(host, entered)
	if err := <-entered; err != nil {
		return nil, fmt.Errorf("enter the host's network namespace: %w", err)
	}
	return h, nil
}

func (h *hostThread) run(host *os.File, entered chan<- error) {
	runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
	if unix.Gettid() == unix.Getpid() {
		// The process's first thread must stay in the overlay: /proc/PID/ns/net of the keeper names its namespace. Hold
		// it while another thread is found.
		done := make(chan struct{})
		go func() { defer close(done); h.run(host, entered) }()
		<-done
		runtime.UnlockOSThread()
		return
	}
	err := unix.Setns(int(host.Fd()), unix.CLONE_NEWNET)
	entered <- err
	if err != nil {
		return
	}
	for call := range h.calls {
		call()
	}
}

// do runs f there and waits for it.
func (h *hostThread) do(f func() error) error {
	result := make(chan error, 1)
	h.calls <- func() { result <- f() }
	return <-result
}

func (h *hostThread) close() { close(h.calls) }
