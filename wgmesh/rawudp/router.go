package rawudp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// router asks the kernel which of our IPv4 addresses a packet to somewhere would have: that of a connected socket. The
// socket is a raw one because a UDP socket would take a port for it, which might be WireGuard's. Nothing arrives there:
// no packet has the protocol 255. Three system calls are cheap enough to ask every time, so nothing can be out of date.
type router struct {
	mu *sync.Mutex
	fd int
}

func newRouter() (router, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return router{fd: -1}, fmt.Errorf("socket for routes: %w", err)
	}
	return router{mu: new(sync.Mutex), fd: fd}, nil
}

// source returns the address, or why there is no way to dest.
func (r router) source(dest netip.Addr) (netip.Addr, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := unix.Connect(r.fd, &unix.SockaddrInet4{Addr: dest.As4()}); err != nil {
		return netip.Addr{}, fmt.Errorf("route: %w", err)
	}
	own, err := unix.Getsockname(r.fd)
	// AF_UNSPEC takes the address off again (connect(2)); it would stay for the next question.
	apart := disconnect(r.fd)
	if err := errors.Join(err, apart); err != nil {
		return netip.Addr{}, fmt.Errorf("route: %w", err)
	}
	in4, ok := own.(*unix.SockaddrInet4)
	if !ok {
		return netip.Addr{}, fmt.Errorf("route: an address of type %T", own)
	}
	return netip.AddrFrom4(in4.Addr), nil
}

// disconnect undoes connect; package unix has no address of family AF_UNSPEC.
func disconnect(fd int) error {
	address := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&address)), unsafe.Sizeof(address))
	if errno != 0 {
		return fmt.Errorf("disconnect: %w", errno)
	}
	return nil
}
