package carrier

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// socketBuffer is what the kernel may queue in each direction, as much as wireguard-go asks for.
const socketBuffer = 7 << 20

// Socket opens a UDP socket on 127.0.0.1 at any port, in the calling thread's network namespace. Buffers are as large as the
// system allows.
func Socket() (*net.UDPConn, error) {
	socket, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, fmt.Errorf("carrier: %w", err)
	}
	raw, err := socket.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			for force, plain := range map[int]int{unix.SO_RCVBUFFORCE: unix.SO_RCVBUF, unix.SO_SNDBUFFORCE: unix.SO_SNDBUF} {
				if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, force, socketBuffer) != nil { // needs CAP_NET_ADMIN
					_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, plain, socketBuffer) // clamped, never refused
				}
			}
		})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("carrier: %w", err), socket.Close())
	}
	return socket, nil
}
