package rawudp

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hopsUsed is how many hop limits take turns.
const hopsUsed = 4

// hops gives every datagram a hop limit that differs from that of its neighbours in the flow: those of WireGuard, which
// have the system's own, and ours. GRO at the receiver joins datagrams of one flow, where wireguard-go asks for it, only
// if their hop limits are equal (inet_gro_flush of linux/include/net/gro.h), and raw sockets get the joined packet: behind
// one of data we would not be seen, and two of ours would be taken for one.
type hops struct {
	system4, system6 int
	turn             *atomic.Uint32
}

// newHops reads the limits of the system off two sockets; -1 is none.
func newHops(v4, v6 int) (hops, error) {
	h := hops{turn: new(atomic.Uint32)}
	var err error
	if v4 >= 0 {
		if h.system4, err = unix.GetsockoptInt(v4, unix.IPPROTO_IP, unix.IP_TTL); err != nil {
			return h, fmt.Errorf("hop limit of IPv4: %w", err)
		}
	}
	if v6 >= 0 {
		if h.system6, err = unix.GetsockoptInt(v6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS); err != nil {
			return h, fmt.Errorf("hop limit of IPv6: %w", err)
		}
	}
	return h, nil
}

// control4 and control6 are the control message for the next datagram.
func (h hops) control4() []byte { return control(unix.IPPROTO_IP, unix.IP_TTL, h.next(h.system4)) }

func (h hops) control6() []byte {
	return control(unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT, h.next(h.system6))
}

// next returns one of the hopsUsed limits below the system's.
func (h hops) next(system int) int { return max(system-1-int(h.turn.Add(1)%hopsUsed), 1) }

// control is a control message with one number.
func control(level, kind int32, value int) []byte {
	b := make([]byte, unix.CmsgSpace(4))
	header := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	header.Level, header.Type = level, kind
	header.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(b[unix.CmsgLen(0):], uint32(value))
	return b
}
