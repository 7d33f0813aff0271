package lab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Space is a network namespace held by a descriptor and by nothing else: no name, no mount. It vanishes when the
// descriptor is closed and the last process in it has ended, also when this process is killed.
type Space struct {
	name string
	mu   sync.Mutex
	fd   *os.File // nil when closed
	nl   *netlink.Handle
}

// Place is where Go code runs: a Space, or Here.
type Place interface {
	// Do runs f on a thread that is in the namespace. Sockets that f opens stay in it; goroutines that f starts do not.
	Do(f func() error) error
}

// Here is the namespace of the caller.
type Here struct{}

// Do calls f.
func (Here) Do(f func() error) error { return f() }

// NewSpace makes an empty network namespace, with its loopback device up.
func NewSpace(name string) (*Space, error) {
	var file *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("network namespace %s: %w (this needs root)", name, err)
		}
		var err error
		file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		return nil, err
	}
	s, err := newSpace(name, file)
	if err != nil {
		return nil, err
	}
	lo, err := s.nl.LinkByName("lo")
	if err == nil {
		err = s.nl.LinkSetUp(lo)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: lo: %w", name, err), s.Close())
	}
	return s, nil
}

// OpenSpace opens a namespace that exists, such as /proc/PID/ns/net.
func OpenSpace(path string) (*Space, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return newSpace(path, file)
}

func newSpace(name string, file *os.File) (*Space, error) {
	// Route alone: by default a handle wants XFRM as well, which not every kernel has.
	nl, err := netlink.NewHandleAt(netns.NsHandle(file.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("netlink in %s: %w", name, err), file.Close())
	}
	return &Space{name: name, fd: file, nl: nl}, nil
}

// Path names the namespace for other processes, for as long as this process holds it.
func (s *Space) Path() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd == nil {
		return ""
	}
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.fd.Fd())
}

// Inode identifies the namespace, as in the link text of /proc/PID/ns/net.
func (s *Space) Inode() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(s.Path(), &st); err != nil {
		return 0, fmt.Errorf("%s: %w", s.name, err)
	}
	return st.Ino, nil
}

// Netlink is a handle whose requests act inside the namespace, from any goroutine.
func (s *Space) Netlink() *netlink.Handle { return s.nl }

// Do runs f on a thread that is inside the namespace and that is thrown away afterwards.
func (s *Space) Do(f func() error) error {
	s.mu.Lock()
	if s.fd == nil {
		s.mu.Unlock()
		return fmt.Errorf("%s: namespace is closed", s.name)
	}
	// A descriptor of our own: Close may come while f runs.
	fd, err := unix.FcntlInt(s.fd.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	defer unix.Close(fd)
	return onThread(func() error {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter %s: %w", s.name, err)
		}
		return f()
	})
}

// Close lets go of the namespace. It may be called twice.
func (s *Space) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fd == nil {
		return nil
	}
	s.nl.Close()
	err := s.fd.Close()
	s.fd = nil
	return err
}

// onThread runs f on a thread of its own. The thread is never unlocked: when its goroutine ends, Go destroys it, and
// with it whatever namespace f left it in.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// sysctl writes a file below /proc/sys/net of the namespace that the calling thread is in.
func sysctl(key, value string) error {
	return os.WriteFile("/proc/sys/net/"+key, []byte(value), 0o644)
}
