package keeper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// childBind is wireguard-go's Bind but for sending to IPv6, which that sends to wrong addresses wherever a device talks to
// both families: a pooled address that was used for IPv4 last takes only the first four bytes of the next one
// (WireGuard/wireguard-go#135, open). What goes to IPv6 leaves from the same socket, by a descriptor of our own.
type childBind struct {
	conn.Bind
	v6      atomic.Pointer[ipv6.PacketConn] // nil: the host has no IPv6, or the bind is closed; cookies are sent without the device's lock
	segment atomic.Bool                     // the kernel cuts datagrams (UDP_SEGMENT, since 4.18)
}

func newChildBind() *childBind { return &childBind{Bind: conn.NewDefaultBind()} }

// Open opens the sockets, and finds the one for IPv6.
func (b *childBind) Open(port uint16) ([]conn.ReceiveFunc, uint16, error) {
	receive, port, err := b.Bind.Open(port)
	if err != nil {
		return receive, port, err
	}
	if err := b.find(port); err != nil {
		return nil, 0, errors.Join(err, b.Bind.Close())
	}
	return receive, port, nil
}

// find looks through our descriptors for the UDP socket on IPv6 with this port.
func (b *childBind) find(port uint16) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("find the IPv6 socket: %w", err)
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		if err != nil || !isUDP6(fd, port) {
			continue
		}
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("duplicate the IPv6 socket: %w", err)
		}
		file := os.NewFile(uintptr(own), "udp6")
		c, err := net.FilePacketConn(file)
		if err := errors.Join(err, file.Close()); err != nil {
			return fmt.Errorf("take the IPv6 socket: %w", err)
		}
		b.v6.Store(ipv6.NewPacketConn(c))
		b.segment.Store(true)
		return nil
	}
	return nil
}

func isUDP6(fd int, port uint16) bool {
	kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil || kind != unix.SOCK_DGRAM {
		return false
	}
	name, err := unix.Getsockname(fd)
	in6, ok := name.(*unix.SockaddrInet6)
	return err == nil && ok && in6.Port == int(port)
}

// Close closes the sockets. Whoever waits for datagrams is told by the other descriptor.
func (b *childBind) Close() error {
	var own error
	if v6 := b.v6.Swap(nil); v6 != nil {
		own = v6.Close()
	}
	return errors.Join(b.Bind.Close(), own)
}

// Send sends datagrams to one place.
func (b *childBind) Send(datagrams [][]byte, to conn.Endpoint) error {
	v6 := b.v6.Load()
	place, ours := to.(*conn.StdNetEndpoint)
	if !ours || !place.Addr().Is6() || v6 == nil {
		return b.Bind.Send(datagrams, to)
	}
	name := net.UDPAddrFromAddrPort(place.AddrPort)
	for {
		segment := b.segment.Load()
		err := writeAll(v6, sends(datagrams, name, segment))
		if segment && errors.Is(err, unix.EIO) { // no checksum offload on the way out: linux/net/ipv6/udp.c, udp_v6_send_skb
			b.segment.Store(false)
			continue
		}
		return err
	}
}

// Limits of one send with UDP_SEGMENT: UDP_MAX_SEGMENTS of kernels before 6.9, and the length of an IPv6 payload.
const (
	maxSegments = 64
	maxPayload  = 65535 - 8
)

// sends makes the fewest sends of datagrams: those of one length go as one, to be cut by the kernel, and a shorter one may
// be its end.
func sends(datagrams [][]byte, to net.Addr, segment bool) []ipv6.Message {
	var all []ipv6.Message
	for i := 0; i < len(datagrams); {
		size, total, j := len(datagrams[i]), len(datagrams[i]), i+1
		for segment && j < len(datagrams) && j-i < maxSegments && len(datagrams[j]) <= size && total+len(datagrams[j]) <= maxPayload {
			total += len(datagrams[j])
			j++
			if len(datagrams[j-1]) < size {
				break
			}
		}
		m := ipv6.Message{Buffers: datagrams[i:j], Addr: to}
		if j-i > 1 {
			m.OOB = segmentSize(size)
		}
		all = append(all, m)
		i = j
	}
	return all
}

// segmentSize is the control message that says where to cut.
func segmentSize(size int) []byte {
	oob := make([]byte, unix.CmsgSpace(2))
	header := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	header.Level, header.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	header.SetLen(unix.CmsgLen(2))
	*(*uint16)(unsafe.Pointer(&oob[unix.CmsgLen(0)])) = uint16(size)
	return oob
}

func writeAll(v6 *ipv6.PacketConn, messages []ipv6.Message) error {
	for len(messages) > 0 {
		n, err := v6.WriteBatch(messages, 0)
		if err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}
