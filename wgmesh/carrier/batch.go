package carrier

import (
	"encoding/binary"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is how many datagrams one system call moves.
const batch = 32

// room is the longest that a datagram can be, and a little.
const room = 64 << 10

// party is who is at the other end of the UDP socket: whoever speaks first, unless it was said.
type party struct{ packed atomic.Uint64 } // 1<<48 | address<<16 | port; 0: nobody yet

func pack(a [4]byte, port uint16) uint64 {
	return 1<<48 | uint64(binary.BigEndian.Uint32(a[:]))<<16 | uint64(port)
}

func (p *party) set(a netip.AddrPort) { p.packed.Store(pack(a.Addr().As4(), a.Port())) }

// is says whether a sender is the one, and makes it so if there is none.
func (p *party) is(sa *unix.RawSockaddrInet4) bool {
	who := pack(sa.Addr, binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:]))
	return p.packed.Load() == who || p.packed.CompareAndSwap(0, who)
}

// address writes where the party is; false: nobody yet.
func (p *party) address(sa *unix.RawSockaddrInet4) bool {
	who := p.packed.Load()
	sa.Family = unix.AF_INET
	binary.BigEndian.PutUint32(sa.Addr[:], uint32(who>>16))
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:], uint16(who))
	return who != 0
}

// receiver takes datagrams from a socket, many at a time. It belongs to one goroutine.
type receiver struct {
	conn   syscall.RawConn
	msgs   [batch]message
	iovs   [batch]unix.Iovec
	names  [batch]unix.RawSockaddrInet4
	memory []byte
	n      int
	errno  syscall.Errno
	call   func(fd uintptr) bool
}

// message is struct mmsghdr.
type message struct {
	unix.Msghdr
	length uint32
}

func newReceiver(conn syscall.RawConn) *receiver {
	r := &receiver{conn: conn, memory: make([]byte, batch*room)}
	for i := range r.msgs {
		r.iovs[i].Base = &r.memory[i*room]
		r.iovs[i].SetLen(room)
		r.msgs[i].Name = (*byte)(unsafe.Pointer(&r.names[i]))
		r.msgs[i].Iov = &r.iovs[i]
		r.msgs[i].SetIovlen(1)
	}
	r.call = r.recvmmsg
	return r
}

func (r *receiver) recvmmsg(fd uintptr) bool {
	for i := range r.msgs {
		r.msgs[i].Namelen = unix.SizeofSockaddrInet4
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])), batch, unix.MSG_DONTWAIT, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		r.n, r.errno = int(n), errno
		return errno != unix.EAGAIN
	}
}

// read waits for datagrams and returns how many came.
func (r *receiver) read() (int, error) {
	if err := r.conn.Read(r.call); err != nil {
		return 0, err
	}
	if r.errno != 0 {
		return 0, os.NewSyscallError("recvmmsg", r.errno)
	}
	return r.n, nil
}

// datagram returns what came as the i-th, and from whom.
func (r *receiver) datagram(i int) ([]byte, *unix.RawSockaddrInet4) {
	return r.memory[i*room : i*room+int(min(r.msgs[i].length, room))], &r.names[i]
}

// sender gives datagrams to a socket, many at a time. It belongs to one goroutine.
type sender struct {
	conn  syscall.RawConn
	msgs  [batch]message
	iovs  [batch]unix.Iovec
	name  unix.RawSockaddrInet4
	n     int // datagrams in msgs
	from  int // the next to be sent
	errno syscall.Errno
	call  func(fd uintptr) bool
}

func newSender(conn syscall.RawConn) *sender {
	s := &sender{conn: conn}
	for i := range s.msgs {
		s.msgs[i].Name = (*byte)(unsafe.Pointer(&s.name))
		s.msgs[i].Namelen = unix.SizeofSockaddrInet4
		s.msgs[i].Iov = &s.iovs[i]
		s.msgs[i].SetIovlen(1)
	}
	s.call = s.sendmmsg
	return s
}

// add takes a datagram, which has to stay as it is until flush. False: flush first.
func (s *sender) add(datagram []byte) bool {
	if s.n == batch {
		return false
	}
	s.iovs[s.n].Base = unsafe.SliceData(datagram)
	s.iovs[s.n].SetLen(len(datagram))
	s.n++
	return true
}

func (s *sender) sendmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&s.msgs[s.from])), uintptr(s.n-s.from),
			unix.MSG_DONTWAIT, 0, 0)
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

// flush sends what was added to the party. One that the kernel refuses is lost, as on any network.
func (s *sender) flush(to *party) error {
	defer func() { s.n, s.from = 0, 0 }()
	if !to.address(&s.name) {
		return nil
	}
	for s.from < s.n {
		if err := s.conn.Write(s.call); err != nil {
			return err
		}
		if s.errno != 0 {
			s.from++
		}
	}
	return nil
}
