package l2bridge

import (
	"bytes"
	"encoding/binary"
)

// Scattered is one frame to inject, in pieces that lie where they were received.
type Scattered struct {
	Parts   [][]byte
	Offload Offload
}

// Len returns the bytes of the frame.
func (s *Scattered) Len() int {
	n := 0
	for _, p := range s.Parts {
		n += len(p)
	}
	return n
}

// Coalescer joins TCP segments that follow each other into frames that await segmentation again, by the rules of the
// kernel's generic receive offload (net/ipv4/tcp_offload.c, tcp_gro_receive) and one more: IPv4 ids must count up, so
// that cutting the result gives back what went in, byte for byte. The order of frames never changes. Frames are not
// copied, but the headers of the first of a joined frame are written to.
type Coalescer struct {
	Disabled bool // the capture cannot inject what awaits segmentation

	ready []Scattered // reused: those behind len keep their Parts

	// The last of ready, while it may grow.
	growing bool
	open    segment // its first segment
	next    uint32  // sequence number that continues it
	id      uint16  // IPv4 id of its last segment
	total   int     // bytes of the frame so far
	last    byte    // TCP flags of its last segment
}

// maxFrame keeps joined frames below the gso_max_size of 65,536 that interfaces have by default: at that length the
// kernel would cut them in software (net/core/dev.c, gso_features_check).
const maxFrame = 65535

// maxParts bounds the pieces of a frame: the kernel takes 1,024 (UIO_MAXIOV) in one call.
const maxParts = 512

// segment is a TCP segment that may be joined with others.
type segment struct {
	headers
	frame []byte
}

func (s *segment) payload() int { return len(s.frame) - s.end }
func (s *segment) flags() byte  { return s.frame[s.tcp+tcpFlags] }
func (s *segment) seq() uint32  { return binary.BigEndian.Uint32(s.frame[s.tcp+tcpSeq:]) }
func (s *segment) id() uint16   { return binary.BigEndian.Uint16(s.frame[s.ip+ip4ID:]) }

// Add takes the next frame.
func (c *Coalescer) Add(frame []byte, k *Key) {
	s, ok := segment{}, false
	if !c.Disabled {
		s, ok = tcpSegment(frame, k)
	}
	if ok && c.growing && c.continues(&s) {
		c.append(&s)
		return
	}
	c.close()
	r := c.slot()
	r.Parts = append(r.Parts, frame)
	if !ok || s.flags()&(flagPSH|flagFIN) != 0 {
		return
	}
	c.growing, c.open = true, s
	c.next, c.total, c.last = s.seq()+uint32(s.payload()), len(frame), s.flags()
	if s.v4 {
		c.id = s.id()
	}
}

// Flush returns all frames in order and starts anew. They are valid until the next Add.
func (c *Coalescer) Flush() []Scattered {
	c.close()
	out := c.ready
	c.ready = c.ready[:0]
	return out
}

// Pending returns how many frames Flush would return.
func (c *Coalescer) Pending() int { return len(c.ready) }

func (c *Coalescer) slot() *Scattered {
	if len(c.ready) < cap(c.ready) {
		c.ready = c.ready[:len(c.ready)+1]
	} else {
		c.ready = append(c.ready, Scattered{})
	}
	r := &c.ready[len(c.ready)-1]
	r.Parts, r.Offload = r.Parts[:0], Offload{}
	return r
}

// continues says whether s follows what is open.
func (c *Coalescer) continues(s *segment) bool {
	o := &c.open
	return s.v4 == o.v4 && s.tcp == o.tcp && s.end == o.end &&
		s.seq() == c.next && s.payload() <= o.payload() && c.total+s.payload() <= maxFrame && len(c.ready[len(c.ready)-1].Parts) < maxParts &&
		s.flags()&flagCWR == 0 && sameHeaders(s, o) && (!s.v4 || s.id() == c.id+1)
}

// sameHeaders compares what must not differ between two segments of one frame.
func sameHeaders(s, o *segment) bool {
	a, b := s.frame, o.frame
	if !bytes.Equal(a[:EthernetHeader], b[:EthernetHeader]) {
		return false
	}
	ia, ib := a[s.ip:s.tcp], b[s.ip:s.tcp]
	if s.v4 {
		if ia[1] != ib[1] || !bytes.Equal(ia[ip4Fragment:ip4Checksum], ib[ip4Fragment:ip4Checksum]) || !bytes.Equal(ia[ip4Src:], ib[ip4Src:]) {
			return false
		}
	} else if !bytes.Equal(ia[:ip6Length], ib[:ip6Length]) || !bytes.Equal(ia[ip6Next:], ib[ip6Next:]) {
		return false
	}
	ta, tb := a[s.tcp:s.end], b[s.tcp:s.end]
	const may = flagPSH | flagFIN | flagCWR
	return bytes.Equal(ta[:tcpSeq], tb[:tcpSeq]) && bytes.Equal(ta[tcpAck:tcpFlags], tb[tcpAck:tcpFlags]) &&
		ta[tcpFlags]&^may == tb[tcpFlags]&^may &&
		bytes.Equal(ta[tcpWindow:tcpChecksum], tb[tcpWindow:tcpChecksum]) && bytes.Equal(ta[tcpChecksum+2:], tb[tcpChecksum+2:])
}

func (c *Coalescer) append(s *segment) {
	r := &c.ready[len(c.ready)-1]
	r.Parts = append(r.Parts, s.frame[s.end:])
	c.next += uint32(s.payload())
	c.id++
	c.total += s.payload()
	c.last = s.flags()
	if s.payload() < c.open.payload() || c.last&(flagPSH|flagFIN) != 0 {
		c.close()
	}
}

// close writes the headers of a frame that has grown to more than one segment.
func (c *Coalescer) close() {
	if !c.growing {
		return
	}
	c.growing = false
	r := &c.ready[len(c.ready)-1]
	if len(r.Parts) == 1 {
		return
	}
	o := &c.open
	ip, t := o.frame[o.ip:], o.frame[o.tcp:o.end]
	length := uint16(c.total - o.tcp)
	r.Offload = Offload{
		Kind: TCPv6, Size: uint16(o.payload()), ECN: o.flags()&flagCWR != 0,
		NeedsChecksum: true, Start: uint16(o.tcp), Offset: tcpChecksum, HeaderLen: uint16(o.end),
	}
	if o.v4 {
		r.Offload.Kind = TCPv4
		binary.BigEndian.PutUint16(ip[ip4Length:], uint16(c.total-o.ip))
		binary.BigEndian.PutUint16(ip[ip4Checksum:], 0)
		binary.NativeEndian.PutUint16(ip[ip4Checksum:], finish(sum(ip[:o.tcp-o.ip], 0)))
	} else {
		binary.BigEndian.PutUint16(ip[ip6Length:], length)
	}
	t[tcpFlags] |= c.last & (flagPSH | flagFIN)
	binary.NativeEndian.PutUint16(t[tcpChecksum:], fold(o.pseudo(length)))
}

// pseudo sums the pseudo header of the segment's protocol for a TCP length (RFC 9293, 3.1; RFC 8200, 8.1).
func (s *segment) pseudo(length uint16) uint64 {
	at, size := s.ip+ip6Src, 32
	if s.v4 {
		at, size = s.ip+ip4Src, 8
	}
	return add16(add16(sum(s.frame[at:at+size], 0), protocolTCP), length)
}

// tcpSegment says whether a frame is a plain TCP data segment with right checksums, which may be joined with others:
// no VLAN tag, no IP options, fragments or extension headers, no padding behind it, nothing urgent.
func tcpSegment(frame []byte, k *Key) (s segment, ok bool) {
	s = segment{frame: frame, headers: headers{ip: EthernetHeader}}
	if k.Tags != 0 || len(frame) > 0xffff {
		return s, false
	}
	ip := frame[EthernetHeader:]
	switch {
	case k.EtherType == EtherTypeIPv4 && len(ip) >= ip4Min+tcpMin:
		s.v4, s.tcp = true, s.ip+ip4Min
		if ip[0] != 0x45 || ip[ip4Protocol] != protocolTCP || ip[ip4Fragment]&^0x40 != 0 || ip[ip4Fragment+1] != 0 ||
			int(binary.BigEndian.Uint16(ip[ip4Length:])) != len(ip) || finish(sum(ip[:ip4Min], 0)) != 0 {
			return s, false
		}
	case k.EtherType == EtherTypeIPv6 && len(ip) >= ip6Min+tcpMin:
		s.tcp = s.ip + ip6Min
		if ip[0]>>4 != 6 || ip[ip6Next] != protocolTCP || int(binary.BigEndian.Uint16(ip[ip6Length:])) != len(ip)-ip6Min {
			return s, false
		}
	default:
		return s, false
	}
	t := frame[s.tcp:]
	length := int(t[tcpLen]>>4) * 4
	s.end = s.tcp + length
	if length < tcpMin || s.end >= len(frame) || t[tcpFlags]&(flagSYN|flagRST|flagURG|flagACK) != flagACK {
		return s, false
	}
	return s, finish(sum(t, s.pseudo(uint16(len(t))))) == 0
}
