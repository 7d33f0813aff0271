package forwarder

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// socket is one UDP socket on all addresses of one family. One goroutine receives; whoever sends has memory of its own.
type socket struct {
	family int // AF_INET or AF_INET6
	file   *os.File
	conn   syscall.RawConn
	gso    atomic.Bool // the kernel knows UDP_SEGMENT (Linux 4.18), and no device has refused it
	closed atomic.Bool
}

// queueBytes is what the kernel may queue for a socket, each way: what wireguard-go asks for too, 7 MiB.
const queueBytes = 7 << 20

// openSocket binds a socket in the network namespace of the calling thread.
func openSocket(family int, port uint16, log *zap.Logger) (*socket, error) {
	name := map[int]string{unix.AF_INET: "udp4", unix.AF_INET6: "udp6"}[family]
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("relay socket %s: %w", name, err)
	}
	s := &socket{family: family}
	var address unix.Sockaddr = &unix.SockaddrInet4{Port: int(port)}
	options := [][3]int{
		{unix.SOL_IP, unix.IP_RECVTTL, 1},
		{unix.SOL_IP, unix.IP_RECVTOS, 1},
		{unix.SOL_IP, unix.IP_PKTINFO, 1},
		// As the kernel's WireGuard does: routers on the way may fragment.
		{unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT},
	}
	if family == unix.AF_INET6 {
		address = &unix.SockaddrInet6{Port: int(port)}
		options = [][3]int{
			{unix.SOL_IPV6, unix.IPV6_V6ONLY, 1},
			{unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
			{unix.SOL_IPV6, unix.IPV6_RECVTCLASS, 1},
			{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1},
		}
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			unix.Close(fd)
			return nil, fmt.Errorf("relay socket %s: option %d: %w", name, o[1], err)
		}
	}
	setQueues(fd, name, log)
	s.gso.Store(unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0) == nil)
	if err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
		log.Info("no UDP_GRO (Linux 5.0): the relay receives datagrams one by one", zap.Error(err))
	}
	if err := unix.Bind(fd, address); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("relay socket %s, port %d: %w", name, port, err)
	}
	s.file = os.NewFile(uintptr(fd), "relay socket "+name)
	if s.conn, err = s.file.SyscallConn(); err != nil {
		s.file.Close()
		return nil, fmt.Errorf("relay socket %s: %w", name, err)
	}
	return s, nil
}

// setQueues makes the socket's queues long, by force where we may.
func setQueues(fd int, name string, log *zap.Logger) {
	for _, o := range []struct{ force, plain int }{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.force, queueBytes) == nil {
			continue
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o.plain, queueBytes) // the kernel clamps it: told next
		if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, o.plain); err != nil || got < queueBytes {
			log.Warn("the kernel clamped a queue of the relay's socket: bursts may be lost; raise net.core.rmem_max and wmem_max",
				zap.String("socket", name), zap.Int("bytes", got), zap.Int("wanted", queueBytes))
		}
	}
}

// port returns the port that the socket is bound to.
func (s *socket) port() (port uint16, err error) {
	var sa unix.Sockaddr
	if e := s.conn.Control(func(fd uintptr) { sa, err = unix.Getsockname(int(fd)) }); e != nil || err != nil {
		return 0, errors.Join(e, err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		port = uint16(sa.Port)
	case *unix.SockaddrInet6:
		port = uint16(sa.Port)
	}
	return port, nil
}

func (s *socket) close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.file.Close()
}

// failure names the socket; a use after close is os.ErrClosed, which a raw connection does not say by itself.
func (s *socket) failure(err error) error {
	if s.closed.Load() {
		err = os.ErrClosed
	}
	return fmt.Errorf("%s: %w", s.file.Name(), err)
}

// lost returns how many datagrams the kernel dropped because the socket's queue was full.
func (s *socket) lost() uint64 {
	var info [9]uint32 // struct sk_meminfo: SK_MEMINFO_DROPS is the last
	_ = s.conn.Control(func(fd uintptr) {
		n := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&n)), 0)
		if errno != 0 {
			info[8] = 0
		}
	})
	return uint64(info[8])
}

// one sends a single datagram.
func (s *socket) one(to *name, m meta, p []byte) (errno syscall.Errno) {
	var c control
	c.set(s.family, m, 0)
	v := unix.Iovec{Base: unsafe.SliceData(p)}
	v.SetLen(len(p))
	h := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&to.raw)), Namelen: to.length(), Iov: &v}
	h.SetIovlen(1)
	if c.len > 0 {
		h.Control = &c.b[0]
		h.SetControllen(c.len)
	}
	err := s.conn.Write(func(fd uintptr) bool {
		for {
			_, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&h)), 0)
			if errno != unix.EINTR {
				return errno != unix.EAGAIN
			}
		}
	})
	if err != nil {
		return unix.EBADF // closed
	}
	return errno
}

func (s *socket) refused(to netip.AddrPort, size int, errno syscall.Errno) error {
	return s.failure(fmt.Errorf("send %d bytes to %s: %w", size, to, errno))
}

// name is a socket address of either family, as the kernel has it.
type name struct {
	raw unix.RawSockaddrInet6 // the longer one; RawSockaddrInet4 fits in
}

func (n *name) set(a netip.AddrPort) {
	port := a.Port()<<8 | a.Port()>>8
	if a.Addr().Is4() {
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(&n.raw)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: a.Addr().As4()}
		return
	}
	n.raw = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: port, Addr: a.Addr().As16()}
}

func (n *name) get() netip.AddrPort {
	port := n.raw.Port<<8 | n.raw.Port>>8
	if n.raw.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&n.raw)).Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(n.raw.Addr), port)
}

func (n *name) length() uint32 {
	if n.raw.Family == unix.AF_INET {
		return unix.SizeofSockaddrInet4
	}
	return unix.SizeofSockaddrInet6
}
