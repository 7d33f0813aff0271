package rawudp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// headerSize is the length of a UDP header (RFC 768).
const headerSize = 8

// maxPacket is what one receive can be: an IPv4 packet, or an IPv6 payload.
const maxPacket = 65535

// Socket sends and receives at a range of ports. Its methods may be called from several goroutines.
type Socket struct {
	first, last uint16
	magic       [4]byte
	v4, v6      int // raw sockets; -1 where the host lacks the family
	router      router
	hops        hops
	wake        int // eventfd: readable once the socket is closing

	receiving sync.Mutex // over buffer
	buffer    [maxPacket]byte

	use    sync.RWMutex // held for reading in every call, for writing to close the descriptors
	once   sync.Once
	closed bool // under use
}

// Open makes the sockets in the network namespace of the calling thread, for ports first to last and datagrams that begin
// with magic. It needs CAP_NET_RAW. A host without IPv6, or without IPv4, is fine; sending by the missing one fails.
func Open(first, last uint16, magic [4]byte) (*Socket, error) {
	s := &Socket{first: first, last: last, magic: magic, v4: -1, v6: -1, wake: -1, router: router{fd: -1}}
	if first == 0 || last < first {
		return nil, fmt.Errorf("raw UDP: ports %d to %d", first, last)
	}
	var err4, err6 error
	s.v4, err4 = open4(first, last, magic)
	s.v6, err6 = open6(first, last, magic)
	if s.v4 < 0 && s.v6 < 0 {
		if errors.Is(err4, unix.EPERM) {
			err4 = fmt.Errorf("%w: root or CAP_NET_RAW is needed", err4)
		}
		return nil, fmt.Errorf("raw UDP: %w", err4)
	}
	for _, err := range []error{err4, err6} {
		if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
			s.release()
			return nil, fmt.Errorf("raw UDP: %w", err)
		}
	}
	var err error
	if s.v4 >= 0 {
		s.router, err = newRouter()
	}
	if err == nil {
		s.hops, err = newHops(s.v4, s.v6)
	}
	if err == nil {
		s.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	}
	if err != nil {
		s.release()
		return nil, fmt.Errorf("raw UDP: %w", err)
	}
	return s, nil
}

// option is an argument of setsockopt.
type option struct{ level, name, value int }

// open4 returns a raw socket for IPv4.
func open4(first, last uint16, magic [4]byte) (int, error) {
	return openRaw(unix.AF_INET, filter4(first, last, magic), []option{
		{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE}, // DF, and no regard for what ICMP said of the path
	})
}

// open6 returns a raw socket for IPv6.
func open6(first, last uint16, magic [4]byte) (int, error) {
	return openRaw(unix.AF_INET6, filter6(first, last, magic), []option{
		{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
		{unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1},
		{unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
		{unix.IPPROTO_IPV6, unix.IPV6_CHECKSUM, offChecksum}, // the kernel sums what we send
	})
}

func openRaw(family int, filter []unix.SockFilter, options []option) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	// What came before the filter is in the queue: Receive looks at everything once more.
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("filter: %w", err)
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("option %d of level %d: %w", o.name, o.level, err)
		}
	}
	return fd, nil
}

// Close ends every call that waits and frees the sockets.
func (s *Socket) Close() error {
	s.once.Do(func() {
		_, _ = unix.Write(s.wake, []byte{0: 1, 7: 0}) // fails only when the counter is full, which would do
		s.use.Lock()
		defer s.use.Unlock()
		s.closed = true
		s.release()
	})
	return nil
}

// release closes every descriptor that there is.
func (s *Socket) release() {
	for _, fd := range []int{s.v4, s.v6, s.router.fd, s.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// enter begins the use of the descriptors, unless they are closed; leave ends it.
func (s *Socket) enter() error {
	s.use.RLock()
	if s.closed {
		s.use.RUnlock()
		return net.ErrClosed
	}
	return nil
}

func (s *Socket) leave() { s.use.RUnlock() }

// Send sends one datagram, never in fragments. from names our port, and our address where that matters: an answer has to
// come from the address that was asked, or firewalls on the way do not know it. Without an address the kernel's routes
// choose one. A datagram longer than the interface's MTU is an EMSGSIZE; a shorter one may still be dropped on the way.
// A link-local address of to has the interface's index as its zone.
func (s *Socket) Send(from, to netip.AddrPort, payload []byte) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	source, dest := from.Addr().Unmap(), to.Addr().Unmap()
	if source.IsUnspecified() {
		source = netip.Addr{}
	}
	if headerSize+len(payload) > maxPacket {
		return fmt.Errorf("send %d bytes to %s: %w", len(payload), to, unix.EMSGSIZE)
	}
	var err error
	switch {
	case source.IsValid() && source.Is4() != dest.Is4():
		err = unix.EAFNOSUPPORT
	case dest.Is4() && s.v4 >= 0:
		err = s.send4(source, from.Port(), dest, to.Port(), payload)
	case dest.Is6() && s.v6 >= 0:
		err = s.send6(source, from.Port(), dest, to.Port(), payload)
	default:
		err = unix.EAFNOSUPPORT
	}
	if err != nil {
		return fmt.Errorf("send %d bytes to %s: %w", len(payload), to, err)
	}
	return nil
}

func (s *Socket) send4(source netip.Addr, sport uint16, dest netip.Addr, dport uint16, payload []byte) error {
	if !source.IsValid() {
		var err error
		if source, err = s.router.source(dest); err != nil {
			return err
		}
	}
	header := udpHeader(sport, dport, len(payload))
	putChecksum(&header, source, dest, payload)
	// The address is in the checksum, so it has to be this one.
	control := append(unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: source.As4()}), s.hops.control4()...)
	return send(s.v4, header[:], payload, control, &unix.SockaddrInet4{Addr: dest.As4()})
}

func (s *Socket) send6(source netip.Addr, sport uint16, dest netip.Addr, dport uint16, payload []byte) error {
	scope, err := zoneIndex(dest.Zone())
	if err != nil {
		return err
	}
	header := udpHeader(sport, dport, len(payload))
	control := s.hops.control6()
	if source.IsValid() {
		control = append(control, unix.PktInfo6(&unix.Inet6Pktinfo{Addr: source.As16(), Ifindex: scope})...)
	}
	// The port of a raw socket's address would be a protocol, which is the socket's.
	return send(s.v6, header[:], payload, control, &unix.SockaddrInet6{Addr: dest.As16(), ZoneId: scope})
}

func send(fd int, header, payload, control []byte, to unix.Sockaddr) error {
	for {
		_, err := unix.SendmsgBuffers(fd, [][]byte{header, payload}, control, to, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Receive waits for the next datagram to our ports, copies as much of it as fits into buf, and says at which of our
// addresses and ports it came, and from where. After Close it returns net.ErrClosed.
func (s *Socket) Receive(buf []byte) (n int, at, from netip.AddrPort, err error) {
	if err := s.enter(); err != nil {
		return 0, at, from, err
	}
	defer s.leave()
	s.receiving.Lock()
	defer s.receiving.Unlock()
	for {
		fds := [...]unix.PollFd{
			{Fd: int32(s.wake), Events: unix.POLLIN}, {Fd: int32(s.v4), Events: unix.POLLIN}, {Fd: int32(s.v6), Events: unix.POLLIN},
		}
		if _, err := unix.Poll(fds[:], -1); err != nil && !errors.Is(err, unix.EINTR) {
			return 0, at, from, fmt.Errorf("raw UDP: %w", err)
		}
		if fds[0].Revents != 0 {
			return 0, at, from, net.ErrClosed
		}
		for i, take := range []func() (datagram, error){s.take4, s.take6} {
			if fds[1+i].Revents == 0 {
				continue
			}
			d, err := take()
			switch {
			case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			case err != nil:
				return 0, at, from, fmt.Errorf("raw UDP: %w", err)
			case s.wanted(d):
				return copy(buf, d.payload), d.to, d.from, nil
			}
		}
	}
}

// wanted repeats what the filter says.
func (s *Socket) wanted(d datagram) bool {
	port := d.to.Port()
	return port >= s.first && port <= s.last && len(d.payload) >= len(s.magic) && [4]byte(d.payload) == s.magic
}

// take4 takes a packet from the IPv4 socket; a zero datagram is not ours.
func (s *Socket) take4() (datagram, error) {
	n, _, err := unix.Recvfrom(s.v4, s.buffer[:], unix.MSG_DONTWAIT)
	if err != nil {
		return datagram{}, err
	}
	d, _ := parse4(s.buffer[:n])
	return d, nil
}

// take6 takes a UDP packet from the IPv6 socket, which keeps the IP header to itself.
func (s *Socket) take6() (datagram, error) {
	control := make([]byte, 128)
	n, c, _, from, err := unix.Recvmsg(s.v6, s.buffer[:], control, unix.MSG_DONTWAIT)
	if err != nil {
		return datagram{}, err
	}
	sender, ok := from.(*unix.SockaddrInet6)
	if !ok {
		return datagram{}, nil
	}
	source := netip.AddrFrom16(sender.Addr)
	if sender.ZoneId != 0 {
		source = source.WithZone(fmt.Sprint(sender.ZoneId))
	}
	dest, ok := packetInfo6(control[:c])
	if !ok {
		return datagram{}, nil
	}
	d, _ := parseUDP(s.buffer[:n], source, dest)
	return d, nil
}

// packetInfo6 finds the destination of a packet in its control messages.
func packetInfo6(control []byte) (netip.Addr, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return netip.Addr{}, false
	}
	i := slices.IndexFunc(messages, func(m unix.SocketControlMessage) bool {
		return m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo
	})
	if i < 0 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(messages[i].Data)), true // struct in6_pktinfo begins with the address
}
