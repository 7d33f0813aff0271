package forwarder

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlRoom is enough for the control messages of a receive or a send: four, of at most CMSG_SPACE(20) bytes each.
const controlRoom = 4 * 40

// control holds the control messages (cmsg(3)) of one receive or send. The length aligns the bytes as the kernel wants them.
type control struct {
	b   [controlRoom]byte
	len int
}

// meta is what a datagram carries beside its bytes.
type meta struct {
	ttl   uint8      // TTL or hop limit
	tos   uint8      // TOS or traffic class: WireGuard passes congestion marks on (RFC 6040)
	local netip.Addr // our address; zero: any
}

// put adds a control message.
func (c *control) put(level, kind int32, data []byte) {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c.b[c.len]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(c.b[c.len+unix.CmsgLen(0):], data)
	c.len += unix.CmsgSpace(len(data))
}

func (c *control) putInt(level, kind int32, v int32) {
	c.put(level, kind, unsafe.Slice((*byte)(unsafe.Pointer(&v)), 4))
}

// set makes the control messages of a send; size is for UDP_SEGMENT, 0 for a single datagram, and a TTL of 0 is the
// kernel's default.
func (c *control) set(family int, m meta, size uint16) {
	c.len = 0
	if family == unix.AF_INET6 {
		if m.ttl != 0 {
			c.putInt(unix.SOL_IPV6, unix.IPV6_HOPLIMIT, int32(m.ttl))
		}
		if m.tos != 0 {
			c.putInt(unix.SOL_IPV6, unix.IPV6_TCLASS, int32(m.tos))
		}
		if m.local.IsValid() {
			info := unix.Inet6Pktinfo{Addr: m.local.As16()}
			c.put(unix.SOL_IPV6, unix.IPV6_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet6Pktinfo))
		}
	} else {
		if m.ttl != 0 {
			c.putInt(unix.SOL_IP, unix.IP_TTL, int32(m.ttl))
		}
		if m.tos != 0 {
			c.putInt(unix.SOL_IP, unix.IP_TOS, int32(m.tos))
		}
		if m.local.IsValid() {
			info := unix.Inet4Pktinfo{Spec_dst: m.local.As4()}
			c.put(unix.SOL_IP, unix.IP_PKTINFO, unsafe.Slice((*byte)(unsafe.Pointer(&info)), unix.SizeofInet4Pktinfo))
		}
	}
	if size != 0 {
		c.put(unix.SOL_UDP, unix.UDP_SEGMENT, unsafe.Slice((*byte)(unsafe.Pointer(&size)), 2))
	}
}

// get reads the control messages of a receive of some bytes, and the size of its datagrams; 0 if it is a single one.
func (c *control) get() (m meta, size int) {
	for at := 0; at+unix.CmsgLen(0) <= c.len; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c.b[at]))
		length := int(h.Len)
		if length < unix.CmsgLen(0) || at+length > c.len {
			break
		}
		data := c.b[at+unix.CmsgLen(0) : at+length]
		switch {
		case h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			size = int(*(*int32)(unsafe.Pointer(&data[0])))
		case h.Level == unix.SOL_IP && h.Type == unix.IP_TTL && len(data) >= 4,
			h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_HOPLIMIT && len(data) >= 4:
			m.ttl = uint8(*(*int32)(unsafe.Pointer(&data[0])))
		case h.Level == unix.SOL_IP && h.Type == unix.IP_TOS && len(data) >= 1: // a byte, unlike when it is sent
			m.tos = data[0]
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			m.tos = uint8(*(*int32)(unsafe.Pointer(&data[0])))
		case h.Level == unix.SOL_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			m.local = netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Spec_dst)
		case h.Level == unix.SOL_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			m.local = netip.AddrFrom16((*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0])).Addr)
		}
		at += unix.CmsgSpace(length - unix.CmsgLen(0))
	}
	return m, size
}
