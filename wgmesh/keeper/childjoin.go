package keeper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// tunWriter gives datagrams to the TUN that follow each other from one port to another, as the datapath's do, joined: the
// kernel passes 60 kB through its stack at once. Nothing is copied for it.
type tunWriter struct {
	first []byte // vnet header and packet; nil: nothing is open
	size  int    // payload of all datagrams but the last
	last  int    // payload of the last
	total int    // bytes of the packet so far
	iovs  []unix.Iovec
	errno syscall.Errno
	call  func(fd uintptr) bool
}

func newTUNWriter() *tunWriter {
	w := &tunWriter{}
	w.call = w.writev
	return w
}

func (w *tunWriter) writev(fd uintptr) bool {
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&w.iovs[0])), uintptr(len(w.iovs)))
		if errno == unix.EINTR {
			continue
		}
		w.errno = errno
		return errno != unix.EAGAIN
	}
}

// datagram says whether a packet is a plain UDP datagram in IPv6.
func datagram(p []byte) bool {
	return len(p) > udp6Headers && p[0]>>4 == 6 && p[ip6Next] == unix.IPPROTO_UDP &&
		int(binary.BigEndian.Uint16(p[ip6Length:])) == len(p)-ip6Header &&
		int(binary.BigEndian.Uint16(p[ip6Header+udpLength:])) == len(p)-ip6Header
}

// sound says whether a datagram has no checksum, or the right one: who joins two wrong ones makes them right.
func sound(p []byte) bool {
	c := p[ip6Header+udpChecksum:]
	return c[0]|c[1] == 0 || fold(sum(p[ip6Header:], pseudo(p, unix.IPPROTO_UDP, len(p)-ip6Header))) == 0xffff
}

// write adds a datagram, which has vnetHeader bytes of room before it at the start of b. It must stay until flush.
func (w *tunWriter) write(conn syscall.RawConn, b []byte) error {
	p := b[vnetHeader:]
	payload := len(p) - udp6Headers
	if w.first != nil && w.last == w.size && payload <= w.size && w.total+payload <= longest && sameFlow(w.first[vnetHeader:], p) &&
		(len(w.iovs) > 1 || sound(w.first[vnetHeader:])) && sound(p) {
		w.iovs = append(w.iovs, iovec(p[udp6Headers:]))
		w.total += payload
		w.last = payload
		return nil
	}
	err := w.flush(conn)
	w.first, w.size, w.last, w.total = b, payload, payload, len(p)
	w.iovs = append(w.iovs[:0], iovec(b))
	return err
}

// sameFlow compares all of the headers but lengths and checksum.
func sameFlow(a, b []byte) bool {
	return bytes.Equal(a[:ip6Length], b[:ip6Length]) && bytes.Equal(a[ip6Next:ip6Header+udpLength], b[ip6Next:ip6Header+udpLength])
}

// flush writes what is open.
func (w *tunWriter) flush(conn syscall.RawConn) error {
	if w.first == nil {
		return nil
	}
	v, p := vnet{}, w.first[vnetHeader:]
	if len(w.iovs) > 1 {
		v = vnet{
			needsChecksum: true, kind: unix.VIRTIO_NET_HDR_GSO_UDP_L4, headers: udp6Headers, size: uint16(w.size),
			start: ip6Header, offset: udpChecksum,
		}
		length := w.total - ip6Header
		binary.BigEndian.PutUint16(p[ip6Length:], uint16(length))
		binary.BigEndian.PutUint16(p[ip6Header+udpLength:], uint16(length))
		binary.NativeEndian.PutUint16(p[ip6Header+udpChecksum:], fold(pseudo(p, unix.IPPROTO_UDP, length)))
	}
	v.put(w.first)
	w.first = nil
	if err := conn.Write(w.call); err != nil {
		return err
	}
	if errors.Is(w.errno, unix.EBADFD) {
		return os.ErrClosed
	}
	if w.errno != 0 {
		return w.errno
	}
	return nil
}
