package forwarder

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	maxReceives = 32    // of one system call
	packetRoom  = 65536 // the longest receive: datagrams that the kernel has joined
)

// receiver holds the memory of recvmmsg.
type receiver struct {
	socket  *socket
	msgs    [maxReceives]unix.Mmsghdr
	iovs    [maxReceives]unix.Iovec
	names   [maxReceives]name
	control [maxReceives]control
	memory  []byte
	n       int
	errno   syscall.Errno
	call    func(fd uintptr) bool
}

func newReceiver(s *socket) *receiver {
	r := &receiver{socket: s, memory: make([]byte, maxReceives*packetRoom)}
	for i := range r.msgs {
		r.iovs[i].Base = &r.memory[i*packetRoom]
		r.iovs[i].SetLen(packetRoom)
		h := &r.msgs[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = &r.control[i].b[0]
	}
	r.call = r.recvmmsg
	return r
}

func (r *receiver) recvmmsg(fd uintptr) bool {
	for i := range r.msgs {
		h := &r.msgs[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(controlRoom)
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])), maxReceives, 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		r.n, r.errno = int(n), errno
		return errno != unix.EAGAIN
	}
}

// read waits for datagrams and returns how many receives they came in.
func (r *receiver) read() (int, error) {
	if err := r.socket.conn.Read(r.call); err != nil {
		return 0, r.socket.failure(err)
	}
	if r.errno != 0 {
		return 0, r.socket.failure(r.errno)
	}
	return r.n, nil
}

// packet returns what came in receive i: datagrams of size bytes each but the last, from one sender.
func (r *receiver) packet(i int) (from netip.AddrPort, data []byte, size int, m meta) {
	msg, c := &r.msgs[i], &r.control[i]
	data = r.memory[i*packetRoom : i*packetRoom+int(min(msg.Len, packetRoom))]
	c.len = int(msg.Hdr.Controllen)
	if m, size = c.get(); size <= 0 {
		size = len(data)
	}
	return r.names[i].get(), data, size, m
}
