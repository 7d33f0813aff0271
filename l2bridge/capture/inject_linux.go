package capture

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
)

// writer holds the memory of sendmmsg.
type writer struct {
	msgs       [MaxBatch]unix.Mmsghdr
	vnet       [MaxBatch][vnetHeader]byte
	iovs       [MaxBatch][]unix.Iovec
	from, upTo int
	errno      syscall.Errno
	call       func(fd uintptr) bool
}

func (w *writer) init() { w.call = w.sendmmsg }

// sendmmsg sends msgs[from:upTo] and moves from past what the kernel took. An error is that of msgs[from].
func (w *writer) sendmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.msgs[w.from])), uintptr(w.upTo-w.from), 0, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case 0:
			w.from += int(n)
		}
		w.errno = errno
		return errno != unix.EAGAIN
	}
}

// Write injects frames: one system call a batch, the payload copied once, by the kernel.
func (p *AFPacket) Write(frames []l2bridge.Scattered) (failed int, err error) {
	w := &p.tx
	for len(frames) > 0 {
		n := min(len(frames), MaxBatch)
		for i := range n {
			w.set(i, &frames[i])
		}
		frames = frames[n:]
		for w.from, w.upTo = 0, n; w.from < w.upTo; {
			if e := p.conn.Write(w.call); e != nil {
				return failed + w.upTo - w.from + len(frames), p.failure(e)
			}
			if w.errno != 0 {
				if failed++; err == nil {
					err = fmt.Errorf("%s: frame of %d bytes not injected: %w", p.file.Name(), w.length(w.from), w.errno)
				}
				w.from++
			}
		}
	}
	return failed, err
}

// set makes message i carry a frame.
func (w *writer) set(i int, f *l2bridge.Scattered) {
	putVnet(w.vnet[i][:], &f.Offload)
	v := w.iovs[i][:0]
	v = append(v, unix.Iovec{Base: &w.vnet[i][0]})
	v[0].SetLen(vnetHeader)
	for _, part := range f.Parts {
		v = append(v, unix.Iovec{Base: unsafe.SliceData(part)})
		v[len(v)-1].SetLen(len(part))
	}
	w.iovs[i] = v
	w.msgs[i].Hdr.Iov = &v[0]
	w.msgs[i].Hdr.SetIovlen(len(v))
}

// length returns the bytes of the frame in message i.
func (w *writer) length(i int) int {
	n := -vnetHeader
	for _, v := range w.iovs[i] {
		n += int(v.Len)
	}
	return n
}
