package datapath

import (
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxReceives is how many receives one system call returns.
const maxReceives = 32

// packetRoom is the longest that a receive can be: 64 KiB of coalesced datagrams.
const packetRoom = 65536

// segmentSizes is the control message UDP_GRO.
type segmentSizes struct {
	unix.Cmsghdr
	size int32
	_    [12]byte // to CMSG_SPACE(4) and more
}

// receiver holds the memory of recvmmsg.
type receiver struct {
	tunnel  *tunnel
	msgs    [maxReceives]unix.Mmsghdr
	iovs    [maxReceives]unix.Iovec
	names   [maxReceives]unix.RawSockaddrInet6
	control [maxReceives]segmentSizes
	memory  []byte
	n       int
	errno   syscall.Errno
	call    func(fd uintptr) bool
}

func newReceiver(t *tunnel) *receiver {
	r := &receiver{tunnel: t, memory: make([]byte, maxReceives*packetRoom)}
	for i := range r.msgs {
		r.iovs[i].Base = &r.memory[i*packetRoom]
		r.iovs[i].SetLen(packetRoom)
		h := &r.msgs[i].Hdr
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&r.control[i]))
	}
	r.call = r.recvmmsg
	return r
}

func (r *receiver) recvmmsg(fd uintptr) bool {
	for i := range r.msgs {
		h := &r.msgs[i].Hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(int(unsafe.Sizeof(r.control[i])))
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
	if err := r.tunnel.conn.Read(r.call); err != nil {
		return 0, r.tunnel.failure(err)
	}
	if r.errno != 0 {
		return 0, r.tunnel.failure(r.errno)
	}
	return r.n, nil
}

// packet returns what came in receive i: datagrams of size bytes each but the last, from one sender.
func (r *receiver) packet(i int) (from netip.Addr, data []byte, size int) {
	m := &r.msgs[i]
	data = r.memory[i*packetRoom : i*packetRoom+int(min(m.Len, packetRoom))]
	size = len(data)
	c := &r.control[i]
	if int(m.Hdr.Controllen) >= unix.CmsgLen(4) && c.Level == unix.SOL_UDP && c.Type == unix.UDP_GRO && c.size > 0 {
		size = int(c.size)
	}
	return netip.AddrFrom16(r.names[i].Addr), data, size
}
