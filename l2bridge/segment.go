package l2bridge

import "encoding/binary"

// Segment is one VXLAN packet: Head holds the VXLAN header and the headers of one segment, Payload points into the
// frame that was cut.
type Segment struct{ Head, Payload []byte }

// Len returns the bytes of the packet.
func (s *Segment) Len() int { return len(s.Head) + len(s.Payload) }

// maxSegments bounds what one frame can become. 64 KiB at the smallest segment size that Linux uses for TCP
// (TCP_MIN_SND_MSS, 48) gives 1,365.
const maxSegments = 2048

// Segmenter turns frames into VXLAN packets, in memory that it reuses: what Cut returned is valid until Reset.
type Segmenter struct {
	heads []byte
	out   []Segment
}

// Reset makes the memory of all packets since the last Reset free for new ones.
func (s *Segmenter) Reset() { s.heads, s.out = s.heads[:0], s.out[:0] }

// room returns n bytes for headers. When the memory is full, packets keep the old one, and there is more from now on.
func (s *Segmenter) room(n int) []byte {
	at := len(s.heads)
	if cap(s.heads)-at < n {
		at, s.heads = 0, make([]byte, 0, max(2*cap(s.heads), n, 16<<10))
	}
	s.heads = s.heads[:at+n]
	return s.heads[at : at+n : at+n]
}

// Cut wraps a frame for network vni. A whole frame becomes one packet, its pending checksum done (in place); a TCP frame that
// awaits segmentation becomes as many as the sender asked for, each with headers and checksums of its own, exactly as
// the kernel would have cut it (net/ipv4/tcp_offload.c, tcp_gso_segment; af_inet.c, inet_gso_segment). The payload is not copied.
func (s *Segmenter) Cut(f *Frame, k *Key, vni uint32) ([]Segment, Why) {
	first := len(s.out)
	if f.Offload.Kind == Whole {
		if !CompleteChecksum(f) {
			return nil, BadOffload
		}
		head := s.room(VXLANHeader)
		PutVXLAN(head, vni)
		s.out = append(s.out, Segment{Head: head, Payload: f.Data})
		return s.out[first:], Forwarded
	}
	h, ok := gsoHeaders(f, k)
	if !ok {
		return nil, BadOffload
	}
	payload, size := f.Data[h.end:], int(f.Offload.Size)
	n := (len(payload) + size - 1) / size
	if n > maxSegments {
		return nil, BadOffload
	}
	each := VXLANHeader + h.end
	heads := s.room(n * each)
	base := h.sums(f.Data)
	for i := range n {
		head := heads[i*each : (i+1)*each : (i+1)*each]
		PutVXLAN(head, vni)
		copy(head[VXLANHeader:], f.Data[:h.end])
		part := payload[i*size : min((i+1)*size, len(payload))]
		h.write(head[VXLANHeader:], part, i, n, size, base)
		s.out = append(s.out, Segment{Head: head, Payload: part})
	}
	return s.out[first:], Forwarded
}

// headers tells where the headers of a TCP frame are.
type headers struct {
	ip, tcp, end int
	v4           bool
}

// gsoHeaders finds the headers of a frame to be cut, and says whether they are what its metadata claims.
func gsoHeaders(f *Frame, k *Key) (h headers, ok bool) {
	o, b := &f.Offload, f.Data
	h = headers{ip: k.Header(), tcp: int(o.Start), v4: o.Kind == TCPv4}
	if !o.NeedsChecksum || o.Offset != tcpChecksum || o.Size == 0 || h.tcp+tcpMin > len(b) || len(b)-h.ip > 0xffff {
		return h, false
	}
	if h.v4 {
		ok = k.EtherType == EtherTypeIPv4 && h.tcp >= h.ip+ip4Min && b[h.ip]>>4 == 4 &&
			h.ip+int(b[h.ip]&15)*4 == h.tcp && b[h.ip+ip4Protocol] == protocolTCP
	} else {
		ok = k.EtherType == EtherTypeIPv6 && h.tcp >= h.ip+ip6Min && b[h.ip]>>4 == 6
	}
	length := int(b[h.tcp+tcpLen]>>4) * 4
	h.end = h.tcp + length
	return h, ok && length >= tcpMin && h.end < len(b)
}

// baseSums are the checksums of what all segments of a frame have in common.
type baseSums struct{ ip, tcp uint64 }

// sums adds up the headers without the fields that differ: IPv4 length, id and checksum; TCP sequence number, flags
// and checksum, and the length in the pseudo header, whose other parts the sender has put in the checksum field.
func (h headers) sums(b []byte) (s baseSums) {
	if h.v4 {
		s.ip = sum(b[h.ip:h.ip+ip4Length], 0)
		s.ip = sum(b[h.ip+ip4Fragment:h.ip+ip4Checksum], s.ip)
		s.ip = sum(b[h.ip+ip4Src:h.tcp], s.ip)
	}
	t := b[h.tcp:h.end]
	s.tcp = sum(t[:tcpSeq], 0)
	s.tcp = sum(t[tcpAck:tcpLen], s.tcp)
	s.tcp = sum(t[tcpWindow:], s.tcp) // with the pseudo header's sum
	s.tcp = add16(s.tcp, ^uint16(len(b)-h.tcp))
	return s
}

// write makes the headers at the start of b those of segment i of n.
func (h headers) write(b, payload []byte, i, n, size int, base baseSums) {
	ip, t := b[h.ip:], b[h.tcp:h.end]
	if h.v4 {
		length := uint16(h.end - h.ip + len(payload))
		id := binary.BigEndian.Uint16(ip[ip4ID:]) + uint16(i)
		binary.BigEndian.PutUint16(ip[ip4Length:], length)
		binary.BigEndian.PutUint16(ip[ip4ID:], id)
		binary.NativeEndian.PutUint16(ip[ip4Checksum:], finish(add16(add16(base.ip, length), id)))
	} else {
		binary.BigEndian.PutUint16(ip[ip6Length:], uint16(h.end-h.ip-ip6Min+len(payload)))
	}
	binary.BigEndian.PutUint32(t[tcpSeq:], binary.BigEndian.Uint32(t[tcpSeq:])+uint32(i*size))
	if i > 0 {
		t[tcpFlags] &^= flagCWR
	}
	if i < n-1 {
		t[tcpFlags] &^= flagFIN | flagPSH
	}
	acc := sum(t[tcpSeq:tcpAck], base.tcp)
	acc = sum(t[tcpLen:tcpWindow], acc)
	acc = add16(acc, uint16(len(t)+len(payload)))
	binary.NativeEndian.PutUint16(t[tcpChecksum:], finish(sum(payload, acc)))
}
