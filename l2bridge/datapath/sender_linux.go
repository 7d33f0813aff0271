package datapath

import (
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
)

const (
	// maxSegments is UDP_MAX_SEGMENTS of kernels before 6.9.
	maxSegments = 64
	// maxDatagrams bounds the bytes of one send: with its IPv6 and UDP headers it must be read in one piece by a
	// WireGuard in user space, which reads at most 65,535 bytes from its TUN.
	maxDatagrams = 65535 - 40 - 8
	// maxSends is how many sends go down in one system call; recent ones are open for more datagrams to the same peer.
	maxSends = 64
	recent   = 8
)

// segmentSize is the control message UDP_SEGMENT.
type segmentSize struct {
	unix.Cmsghdr
	size uint16
	_    [6]byte // to CMSG_SPACE(2)
}

// sender gathers the datagrams of a batch and sends them. Datagrams of one length to one peer go down together, cut
// apart again by the kernel (UDP_SEGMENT) as late as possible; the last of them may be shorter.
type sender struct {
	tunnel   *tunnel
	counters *counters
	failed   func(error) // told the first failure of a flush

	msgs    [maxSends]unix.Mmsghdr
	sends   [maxSends]send
	n, from int
	errno   syscall.Errno
	call    func(fd uintptr) bool
}

// send is one UDP_SEGMENT send.
type send struct {
	to       netip.Addr
	name     unix.RawSockaddrInet6
	control  segmentSize
	iovs     []unix.Iovec
	size     int // bytes of each datagram but the last
	count    int // datagrams
	bytes    int
	complete bool // the last one is shorter: nothing may follow
}

func newSender(t *tunnel, c *counters, failed func(error)) *sender {
	s := &sender{tunnel: t, counters: c, failed: failed}
	s.call = s.sendmmsg
	return s
}

// add puts a packet behind the others to this peer. What it points to must stay until flush.
func (s *sender) add(to netip.Addr, p *l2bridge.Segment) {
	length := p.Len()
	o := s.open(to, length)
	if o == nil {
		if s.n == maxSends {
			s.flush()
		}
		o = &s.sends[s.n]
		s.n++
		if o.to != to {
			o.to, o.name = to, rawAddress(to)
		}
		o.iovs, o.size, o.count, o.bytes, o.complete = o.iovs[:0], length, 0, 0, !s.tunnel.gso
	}
	if len(p.Head) > 0 {
		o.iovs = append(o.iovs, iovec(p.Head))
	}
	if len(p.Payload) > 0 {
		o.iovs = append(o.iovs, iovec(p.Payload))
	}
	o.count++
	o.bytes += length
	o.complete = o.complete || length < o.size
}

// open finds the last send to a peer, if it can take a datagram of this length. An earlier one cannot: order.
func (s *sender) open(to netip.Addr, length int) *send {
	for i := s.n - 1; i >= max(0, s.n-recent); i-- {
		o := &s.sends[i]
		if o.to != to {
			continue
		}
		if o.complete || length > o.size || o.count == maxSegments || o.bytes+length > maxDatagrams {
			return nil
		}
		return o
	}
	return nil
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: unsafe.SliceData(b)}
	v.SetLen(len(b))
	return v
}

// flush sends what was added, in order. A failed send is counted and does not keep the next ones back.
func (s *sender) flush() {
	for i := range s.n {
		s.prepare(i)
	}
	told := false
	for s.from = 0; s.from < s.n; {
		err := s.tunnel.conn.Write(s.call)
		if err == nil && s.errno == 0 {
			continue
		}
		o := &s.sends[s.from]
		if err == nil {
			if o.count > 1 && s.apart(o) {
				s.from++
				continue
			}
			err = fmt.Errorf("send %d datagrams of %d bytes to [%s]:%d: %w", o.count, o.size, o.to, l2bridge.VXLANPort, s.errno)
		}
		s.counters.Drops[l2bridge.SendFailed] += uint64(o.count)
		if !told {
			s.failed(err)
			told = true
		}
		s.from++
	}
	s.counters.Sends += uint64(s.n)
	s.n = 0
}

// prepare makes the message of a send.
func (s *sender) prepare(i int) {
	o, h := &s.sends[i], &s.msgs[i].Hdr
	h.Name = (*byte)(unsafe.Pointer(&o.name))
	h.Namelen = unix.SizeofSockaddrInet6
	h.Iov = &o.iovs[0]
	h.SetIovlen(len(o.iovs))
	h.Control = nil
	h.SetControllen(0)
	if o.count > 1 {
		c := &o.control
		c.Level, c.Type, c.size = unix.SOL_UDP, unix.UDP_SEGMENT, uint16(o.size)
		c.SetLen(unix.CmsgLen(2))
		h.Control = (*byte)(unsafe.Pointer(c))
		h.SetControllen(unix.CmsgSpace(2))
	}
}

func (s *sender) sendmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.msgs[s.from])), uintptr(s.n-s.from), 0, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case 0:
			s.from += int(n)
		}
		s.errno = errno
		return errno != unix.EAGAIN
	}
}

// apart sends the datagrams of a send one by one: the kernel does not fragment the parts of a UDP_SEGMENT send, and
// answers EMSGSIZE or EINVAL where a VLAN tag makes frames of full size 4 bytes longer than the tunnel carries whole.
func (s *sender) apart(o *send) bool {
	if s.errno != unix.EMSGSIZE && s.errno != unix.EINVAL {
		return false
	}
	ok := true
	h := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&o.name)), Namelen: unix.SizeofSockaddrInet6}
	for v := o.iovs; len(v) > 0; {
		n, bytes := 0, 0
		for n < len(v) && bytes < o.size {
			bytes += int(v[n].Len)
			n++
		}
		h.Iov = &v[0]
		h.SetIovlen(n)
		v = v[n:]
		err := s.tunnel.conn.Write(func(fd uintptr) bool {
			_, _, s.errno = unix.Syscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&h)), 0)
			return s.errno != unix.EAGAIN && s.errno != unix.EINTR
		})
		ok = ok && err == nil && s.errno == 0
	}
	return ok
}
