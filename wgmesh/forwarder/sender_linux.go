package forwarder

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxSegments  = 64         // UDP_MAX_SEGMENTS of kernels before 6.9
	maxDatagrams = 65535 - 28 // bytes of one send: an IPv4 packet less its headers
	maxSends     = 256        // of one system call
	recent       = 8          // how many of the last sends are open for more
)

// sender gathers datagrams and sends them. Those of one session that have one length go down together, to be cut apart by
// the kernel (UDP_SEGMENT) as late as possible; the last of them may be shorter.
type sender struct {
	socket *socket
	failed func(datagrams int, err error)
	stale  func(to netip.AddrPort) // our address at which a peer knows us is ours no more

	msgs    [maxSends]unix.Mmsghdr
	sends   [maxSends]send
	n, from int
	errno   syscall.Errno
	call    func(fd uintptr) bool
	sent    uint64 // datagrams
	bytes   uint64
}

// session is what datagrams that go down together have in common.
type session struct {
	to    netip.AddrPort
	index uint32 // the receiver's: never are two sessions joined
	alone bool   // join nothing
	meta  meta
}

// send is one UDP_SEGMENT send, or a single datagram.
type send struct {
	session
	name     name
	control  control
	iovs     []unix.Iovec
	size     int // bytes of each datagram but the last
	count    int // datagrams
	bytes    int
	complete bool // nothing may follow
}

func newSender(s *socket) *sender {
	o := &sender{socket: s}
	o.call = o.sendmmsg
	return o
}

// room says whether n more datagrams fit in before a flush.
func (s *sender) room(n int) bool { return s.n+n <= maxSends }

// add puts datagrams behind the others of their session: of size bytes each, the last one perhaps shorter. Their bytes must
// stay until flush.
func (s *sender) add(to session, run []byte, size int) {
	most := size
	if s.socket.gso.Load() && !to.alone {
		most = min(maxSegments, maxDatagrams/max(size, 1)) * size
	}
	for {
		part := run[:min(most, len(run))]
		s.put(&to, part, size)
		if run = run[len(part):]; len(run) == 0 {
			return
		}
	}
}

// put adds what fits into one send.
func (s *sender) put(to *session, part []byte, size int) {
	count := max(1, (len(part)+size-1)/max(size, 1))
	o := s.open(to, part, size, count)
	if o == nil {
		o = &s.sends[s.n]
		s.n++
		if o.to != to.to {
			o.name.set(to.to)
		}
		o.session = *to
		o.iovs, o.size, o.count, o.bytes = o.iovs[:0], min(size, len(part)), 0, 0
		o.complete = to.alone || !s.socket.gso.Load()
	}
	v := unix.Iovec{Base: unsafe.SliceData(part)}
	v.SetLen(len(part))
	o.iovs = append(o.iovs, v)
	o.count += count
	o.bytes += len(part)
	o.complete = o.complete || o.bytes < o.count*o.size
}

// open finds the last send of a session, if it can take more datagrams: as long as its own, or a single one that is shorter.
// An earlier one cannot: order.
func (s *sender) open(to *session, part []byte, size, count int) *send {
	for i := s.n - 1; i >= max(0, s.n-recent); i-- {
		o := &s.sends[i]
		if o.index != to.index || o.to != to.to {
			continue
		}
		fits := size == o.size || count == 1 && len(part) < o.size
		if !fits || o.complete || to.alone || o.meta != to.meta || o.count+count > maxSegments || o.bytes+len(part) > maxDatagrams {
			return nil
		}
		return o
	}
	return nil
}

// flush sends what was added, in order. A failed send is told and does not keep the next ones back.
func (s *sender) flush() {
	for i := range s.n {
		s.prepare(i)
	}
	for s.from = 0; s.from < s.n; {
		before := s.from
		err := s.socket.conn.Write(s.call)
		for i := before; i < s.from; i++ {
			s.count(s.sends[i].count, s.sends[i].bytes)
		}
		if err != nil {
			s.failed(s.left(), s.socket.failure(err))
			break
		}
		if s.errno != 0 {
			s.apart(&s.sends[s.from], s.errno)
			s.from++
		}
	}
	s.n = 0
}

func (s *sender) count(datagrams, bytes int) {
	s.sent += uint64(datagrams)
	s.bytes += uint64(bytes)
}

// left counts the datagrams that were not sent.
func (s *sender) left() (n int) {
	for i := s.from; i < s.n; i++ {
		n += s.sends[i].count
	}
	return n
}

// prepare makes the message of a send.
func (s *sender) prepare(i int) {
	o, h := &s.sends[i], &s.msgs[i].Hdr
	h.Name = (*byte)(unsafe.Pointer(&o.name.raw))
	h.Namelen = o.name.length()
	size := 0
	if o.count > 1 {
		size = o.size
	}
	o.control.set(s.socket.family, o.meta, uint16(size))
	h.Control = nil
	if o.control.len > 0 {
		h.Control = &o.control.b[0]
	}
	h.SetControllen(o.control.len)
	h.Iov = unsafe.SliceData(o.iovs)
	h.SetIovlen(len(o.iovs))
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

// apart sends the datagrams of a send one by one after an error. The kernel does not fragment the parts of a UDP_SEGMENT send
// (EMSGSIZE, before Linux 6.14 EINVAL), and does not cut them for a device without checksum offload (EIO, before Linux
// 6.11). An address that is ours no more is EINVAL too.
func (s *sender) apart(o *send, errno syscall.Errno) {
	if errno == unix.EIO && o.count > 1 {
		s.socket.gso.Store(false)
	}
	if o.count == 1 && !o.meta.local.IsValid() {
		s.failed(1, s.socket.refused(o.to, o.size, errno))
		return
	}
	whole := joined(o.iovs)
	for len(whole) > 0 {
		p := whole[:min(o.size, len(whole))]
		whole = whole[len(p):]
		err := s.socket.one(&o.name, o.meta, p)
		if err != 0 && o.meta.local.IsValid() && err != unix.EMSGSIZE {
			o.meta.local = netip.Addr{}
			if err = s.socket.one(&o.name, o.meta, p); err == 0 {
				s.stale(o.to)
			}
		}
		if err != 0 {
			s.failed(1, s.socket.refused(o.to, len(p), err))
			continue
		}
		s.count(1, len(p))
	}
}

// joined copies scattered bytes together.
func joined(iovs []unix.Iovec) (all []byte) {
	for _, v := range iovs {
		all = append(all, unsafe.Slice(v.Base, v.Len)...)
	}
	return all
}
