package capture

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
)

// AFPacket is a Port on a packet socket of its own: no library offers vnet headers, inbound only, batches and
// injection without a copy together.
type AFPacket struct {
	file *os.File // non-blocking, in the runtime's poller
	conn syscall.RawConn

	rx reader
	tx writer

	closed            atomic.Bool
	overflow, trimmed atomic.Uint64
}

// OpenAFPacket opens the interface in the network namespace of the calling thread.
func OpenAFPacket(ifname string) (*AFPacket, error) {
	fail := func(what string, err error) (*AFPacket, error) {
		return nil, fmt.Errorf("capture on %s: %s: %w", ifname, what, err)
	}
	ifi, err := net.InterfaceByName(ifname)
	if err != nil {
		return nil, fmt.Errorf("capture on %s: %w", ifname, err)
	}
	// Protocol 0: nothing is queued before the socket is bound with all its options.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EPERM) {
		return fail("packet socket refused: run as root or with CAP_NET_RAW", err)
	}
	if err != nil {
		return fail("packet socket", err)
	}
	for _, o := range []struct {
		name              string
		level, opt, value int
	}{
		{"PACKET_VNET_HDR", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
		{"PACKET_IGNORE_OUTGOING (Linux 4.20)", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		{"PACKET_AUXDATA", unix.SOL_PACKET, unix.PACKET_AUXDATA, 1},
		{"SO_RCVBUFFORCE", unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, queueBytes},
		{"SO_SNDBUFFORCE", unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, queueBytes},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.value); err != nil {
			unix.Close(fd)
			return fail(o.name, err)
		}
	}
	mreq := unix.PacketMreq{Ifindex: int32(ifi.Index), Type: unix.PACKET_MR_PROMISC}
	err = unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &mreq)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: ifi.Index})
	}
	if err != nil {
		unix.Close(fd)
		return fail("bind", err)
	}
	p := &AFPacket{file: os.NewFile(uintptr(fd), "capture "+ifname)}
	if p.conn, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return fail("poller", err)
	}
	p.rx.init()
	p.tx.init()
	return p, nil
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// Offloads is true: the vnet header carries them.
func (p *AFPacket) Offloads() bool { return true }

// Close ends a Read that waits.
func (p *AFPacket) Close() error {
	p.closed.Store(true)
	return p.file.Close()
}

// failure names the port; a use after Close is os.ErrClosed, which a raw connection does not say by itself.
func (p *AFPacket) failure(err error) error {
	if p.closed.Load() {
		err = os.ErrClosed
	}
	return fmt.Errorf("%s: %w", p.file.Name(), err)
}

// Lost reads and keeps the kernel's count, which reading resets.
func (p *AFPacket) Lost() Lost {
	_ = p.conn.Control(func(fd uintptr) {
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			p.overflow.Add(uint64(s.Drops))
		}
	})
	return Lost{Overflow: p.overflow.Load(), Trimmed: p.trimmed.Load()}
}

// Room of one captured frame: 64 KiB of IP packet and its Ethernet header, and in front of it the place of a VLAN tag
// that the kernel took out.
const (
	tagRoom  = l2bridge.VLANTag
	slotSize = tagRoom + 65535 + l2bridge.EthernetHeader + l2bridge.MaxVLANTags*l2bridge.VLANTag + 7
)

// reader holds the memory of recvmmsg.
type reader struct {
	msgs    [MaxBatch]unix.Mmsghdr
	iovs    [MaxBatch][2]unix.Iovec
	vnet    [MaxBatch][vnetHeader]byte
	control [MaxBatch]auxdata
	slots   [][]byte
	want, n int
	errno   syscall.Errno
	call    func(fd uintptr) bool
}

func (r *reader) init() {
	memory := make([]byte, MaxBatch*slotSize)
	for i := range r.msgs {
		slot := memory[i*slotSize : (i+1)*slotSize : (i+1)*slotSize]
		r.slots = append(r.slots, slot)
		r.iovs[i][0].Base = &r.vnet[i][0]
		r.iovs[i][0].SetLen(vnetHeader)
		r.iovs[i][1].Base = &slot[tagRoom]
		r.iovs[i][1].SetLen(slotSize - tagRoom)
		h := &r.msgs[i].Hdr
		h.Iov = &r.iovs[i][0]
		h.SetIovlen(2)
		h.Control = (*byte)(unsafe.Pointer(&r.control[i]))
	}
	r.call = r.recvmmsg
}

// recvmmsg makes a raw system call, as all on the fast path do: they never wait, and the scheduler's bookkeeping for
// calls that may (it looks after them every 20 µs, and takes the processor away) cost a fifth of the datapath's CPU.
func (r *reader) recvmmsg(fd uintptr) bool {
	for i := range r.want {
		r.msgs[i].Hdr.SetControllen(int(unsafe.Sizeof(r.control[i])))
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])), uintptr(r.want), 0, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		r.n, r.errno = int(n), errno
		return errno != unix.EAGAIN
	}
}

// Read waits for frames. A frame whose metadata cannot be understood counts as trimmed: it is not whole.
func (p *AFPacket) Read(frames []l2bridge.Frame) (int, error) {
	r := &p.rx
	for {
		r.want = min(len(frames), MaxBatch)
		if err := p.conn.Read(r.call); err != nil {
			return 0, p.failure(err)
		}
		if r.errno != 0 {
			return 0, p.failure(r.errno)
		}
		kept := 0
		for i := range r.n {
			if p.frame(i, &frames[kept]) {
				kept++
			} else {
				p.trimmed.Add(1)
			}
		}
		if kept > 0 {
			return kept, nil
		}
	}
}

// frame makes what the kernel left in slot i one frame.
func (p *AFPacket) frame(i int, f *l2bridge.Frame) (ok bool) {
	r := &p.rx
	m := &r.msgs[i]
	n := int(m.Len) - vnetHeader
	if m.Hdr.Flags&unix.MSG_TRUNC != 0 || n < 0 || n > slotSize-tagRoom {
		return false
	}
	if f.Offload, ok = parseVnet(r.vnet[i][:]); !ok {
		return false
	}
	f.Data = r.slots[i][tagRoom : tagRoom+n]
	if tci, tpid, tagged := r.control[i].vlan(int(m.Hdr.Controllen)); tagged && n >= 12 {
		f.Data = retag(r.slots[i][:tagRoom+n], tci, tpid, &f.Offload)
	}
	return true
}
