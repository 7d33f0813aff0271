package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Tap sees and sends whole Ethernet frames through one interface of a namespace, or sees those of all its interfaces.
// Frames that the namespace itself sends are not seen. VLAN tags are where they were on the wire.
type Tap struct {
	file  *os.File
	raw   syscall.RawConn
	vnet  bool
	space []byte
}

// Frame is one Ethernet frame as it was seen.
type Frame struct {
	Data  []byte // valid until the next Receive
	Index int    // of the interface
	// Segment is set when the frame stands for several on the wire: the payload bytes of each (GSO). See Split.
	Segment int
	At      time.Time
}

// TapOption changes how a Tap is opened.
type TapOption func(*tapSpec)

type tapSpec struct{ promiscuous, offload bool }

// Promiscuous makes the interface take frames to other addresses, too.
func Promiscuous() TapOption { return func(s *tapSpec) { s.promiscuous = true } }

// WithSegments reports Frame.Segment, for namespaces through which frames pass that are not segmented yet.
func WithSegments() TapOption { return func(s *tapSpec) { s.offload = true } }

// vnetHeader is the length of struct virtio_net_hdr.
const vnetHeader = 10

// OpenTap opens an interface; "" is all interfaces of the namespace, for receiving.
func OpenTap(at Place, iface string, opts ...TapOption) (*Tap, error) {
	var spec tapSpec
	for _, o := range opts {
		o(&spec)
	}
	t := &Tap{vnet: spec.offload, space: make([]byte, vnetHeader+65536+64)}
	err := at.Do(func() error {
		index := 0
		if iface != "" {
			dev, err := net.InterfaceByName(iface)
			if err != nil {
				return fmt.Errorf("%s: %w", iface, err)
			}
			index = dev.Index
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("packet socket: %w", err)
		}
		if err := t.set(fd, index, spec); err != nil {
			return errors.Join(fmt.Errorf("packet socket: %w", err), unix.Close(fd))
		}
		t.file = os.NewFile(uintptr(fd), "packet")
		return nil
	})
	if err != nil {
		return nil, err
	}
	t.raw, err = t.file.SyscallConn()
	return t, err
}

func (t *Tap) set(fd, index int, spec tapSpec) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20); err != nil {
		return err
	}
	if spec.offload {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return err
		}
	}
	if spec.promiscuous {
		mreq := &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
		if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, mreq); err != nil {
			return err
		}
	}
	// Bound last, so that nothing arrives before the options are set.
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index})
}

// Send sends a frame as it is.
func (t *Tap) Send(frame []byte) error {
	if t.vnet {
		frame = append(make([]byte, vnetHeader, vnetHeader+len(frame)), frame...)
	}
	_, err := t.file.Write(frame)
	return err
}

// Receive returns the next frame. Its error is os.ErrDeadlineExceeded when none came until the deadline.
func (t *Tap) Receive(deadline time.Time) (Frame, error) {
	if err := t.file.SetReadDeadline(deadline); err != nil {
		return Frame{}, err
	}
	const head = 16 // room to put a VLAN tag back
	buf := t.space[head:]
	oob := make([]byte, unix.CmsgSpace(int(unsafe.Sizeof(unix.TpacketAuxdata{}))))
	var n, oobn int
	var from unix.Sockaddr
	var failed error
	err := t.raw.Read(func(fd uintptr) bool {
		n, oobn, _, from, failed = unix.Recvmsg(int(fd), buf, oob, 0)
		return !errors.Is(failed, unix.EAGAIN)
	})
	if err = errors.Join(err, failed); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return Frame{}, os.ErrDeadlineExceeded
		}
		return Frame{}, err
	}
	f := Frame{At: time.Now()}
	if ll, ok := from.(*unix.SockaddrLinklayer); ok {
		f.Index = ll.Ifindex
	}
	start := head
	if t.vnet {
		if n < vnetHeader {
			return Frame{}, fmt.Errorf("packet socket: %d bytes are no header", n)
		}
		if buf[1] != unix.VIRTIO_NET_HDR_GSO_NONE {
			f.Segment = int(binary.NativeEndian.Uint16(buf[4:]))
		}
		start, n = start+vnetHeader, n-vnetHeader
	}
	if tag, ok := vlanTag(oob[:oobn]); ok && n >= 12 {
		copy(t.space[start-4:], t.space[start:start+12])
		copy(t.space[start+8:], tag[:])
		start, n = start-4, n+4
	}
	f.Data = t.space[start : start+n]
	return f, nil
}

// Close closes the tap; a Receive that waits returns an error.
func (t *Tap) Close() error { return t.file.Close() }

// vlanTag finds the tag that the kernel took out of the frame (struct tpacket_auxdata, packet(7)).
func vlanTag(oob []byte) (tag [4]byte, ok bool) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return tag, false
	}
	for _, m := range msgs {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA || len(m.Data) < 20 {
			continue
		}
		status := binary.NativeEndian.Uint32(m.Data)
		if status&unix.TP_STATUS_VLAN_VALID == 0 {
			continue
		}
		tpid := uint16(unix.ETH_P_8021Q)
		if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
			tpid = binary.NativeEndian.Uint16(m.Data[18:])
		}
		binary.BigEndian.PutUint16(tag[:], tpid)
		binary.BigEndian.PutUint16(tag[2:], binary.NativeEndian.Uint16(m.Data[16:]))
		return tag, true
	}
	return tag, false
}

// ReceiveUntil gives frames to take until it returns true or the context ends.
func (t *Tap) ReceiveUntil(ctx context.Context, take func(Frame) (done bool)) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		// Short waits, so that a cancelled context is noticed.
		f, err := t.Receive(time.Now().Add(50 * time.Millisecond))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		if take(f) {
			return nil
		}
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
