package datapath

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

	"github.com/weavewg/weavewg/l2bridge"
)

// tunnel is the UDP socket that carries VXLAN between overlay addresses. Receiving belongs to one goroutine; each
// sender has memory of its own.
type tunnel struct {
	file *os.File
	conn syscall.RawConn
	gso  bool // the kernel knows UDP_SEGMENT (Linux 4.18)

	closed atomic.Bool
}

const (
	// queueBytes is what the kernel may queue: more than the 7 MiB that wireguard-go asks for, since what it delivers
	// in one burst must fit.
	queueBytes = 8 << 20
	leastQueue = 7 << 20
)

// openTunnel binds the socket in the network namespace of the calling thread.
func openTunnel(address netip.Addr, log *zap.Logger) (*tunnel, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("tunnel socket: %w", err)
	}
	// FREEBIND: the address may come to lo a moment later. NO_CHECK6_RX: a checksum that comes out as zero has to be sent
	// as 0xffff (RFC 8200, 8.1), but wireguard-go's tun/offload_linux.go sends it as zero, once in 65,536 packets and
	// always for the same lengths; the tunnel has authenticated the packet anyway (RFC 6935).
	for _, o := range [][3]int{
		{unix.SOL_UDP, unix.UDP_NO_CHECK6_RX, 1},
		{unix.SOL_IPV6, unix.IPV6_V6ONLY, 1},
		{unix.SOL_IPV6, unix.IPV6_FREEBIND, 1},
		{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueBytes},
		{unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, queueBytes},
	} {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			log.Warn("tunnel socket option refused; big bursts may be lost", zap.Ints("option", o[:]), zap.Error(err))
		}
	}
	for name, opt := range map[string]int{"receive": unix.SO_RCVBUF, "send": unix.SO_SNDBUF} {
		if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt); err == nil && got < leastQueue {
			log.Warn("the kernel clamped a buffer of the tunnel socket; big bursts may be lost",
				zap.String("buffer", name), zap.Int("bytes", got), zap.Int("wanted", leastQueue))
		}
	}
	t := &tunnel{}
	t.gso = unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0) == nil
	if err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1); err != nil {
		log.Warn("no UDP_GRO (Linux 5.0): datagrams come one by one", zap.Error(err))
	}
	if err := unix.Bind(fd, &unix.SockaddrInet6{Port: l2bridge.VXLANPort, Addr: address.As16()}); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.EADDRINUSE) {
			return nil, fmt.Errorf("tunnel socket [%s]:%d: another datapath of this node is running: %w", address, l2bridge.VXLANPort, err)
		}
		return nil, fmt.Errorf("tunnel socket [%s]:%d: %w", address, l2bridge.VXLANPort, err)
	}
	t.file = os.NewFile(uintptr(fd), "tunnel "+address.String())
	if t.conn, err = t.file.SyscallConn(); err != nil {
		t.file.Close()
		return nil, fmt.Errorf("tunnel socket: %w", err)
	}
	return t, nil
}

func (t *tunnel) close() {
	t.closed.Store(true)
	t.file.Close()
}

// failure names the socket; a use after close is os.ErrClosed, which a raw connection does not say by itself.
func (t *tunnel) failure(err error) error {
	if t.closed.Load() {
		err = os.ErrClosed
	}
	return fmt.Errorf("%s: %w", t.file.Name(), err)
}

// lost returns how many datagrams the kernel dropped because the socket's queue was full.
func (t *tunnel) lost() uint64 {
	var info [9]uint32 // struct sk_meminfo: SK_MEMINFO_DROPS is the last
	_ = t.conn.Control(func(fd uintptr) {
		n := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
			uintptr(unsafe.Pointer(&info[0])), uintptr(unsafe.Pointer(&n)), 0)
		if errno != 0 {
			info[8] = 0
		}
	})
	return uint64(info[8])
}

// rawAddress is the socket address of the tunnel's port at an overlay address.
func rawAddress(a netip.Addr) unix.RawSockaddrInet6 {
	sa := unix.RawSockaddrInet6{Family: unix.AF_INET6, Addr: a.As16()}
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	port[0], port[1] = byte(l2bridge.VXLANPort>>8), byte(l2bridge.VXLANPort&0xff)
	return sa
}
