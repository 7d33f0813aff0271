package datapath

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// within runs f on a thread that has entered a network namespace (nil: the current one). The thread ends with it, so that no other
// goroutine can ever run there by accident. Sockets stay in the namespace in which they were made.
func within(namespace *os.File, f func() error) error {
	if namespace == nil {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread with the goroutine
		if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace %s: %w", namespace.Name(), err)
			return
		}
		done <- f()
	}()
	return <-done
}
