package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Own opens the namespace that the calling thread is in. A goroutine that is not locked to its thread is in the
// process's.
func Own() (*os.File, error) { return os.Open("/proc/thread-self/ns/net") }

// Open opens the namespace at a path such as /var/run/netns/NAME or /proc/PID/ns/net, and refuses anything else.
func Open(path string) (*os.File, error) {
	// O_NONBLOCK: a FIFO in place of a namespace must not hold us.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	if err := Check(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Check returns an error unless f is a network namespace (NS_GET_NSTYPE of linux/nsfs.h, Linux 4.11).
func Check(f *os.File) error {
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return fmt.Errorf("%s is not a network namespace", f.Name())
	}
	return nil
}

// Same says whether two open namespaces are one.
func Same(a, b *os.File) bool {
	x, errX := a.Stat()
	y, errY := b.Stat()
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// Do runs f on a thread that is inside ns, and takes the thread back afterwards. Sockets that f opens stay in ns;
// goroutines that f starts are not in it.
func Do(ns *os.File, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := Own()
		if err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("open the thread's network namespace: %w", err)
			return
		}
		defer own.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("enter network namespace %s: %w", ns.Name(), err)
			return
		}
		err = f()
		// A thread that cannot go back stays locked, so that the runtime ends it together with this goroutine.
		if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}
