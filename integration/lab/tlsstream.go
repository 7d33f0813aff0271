package lab

import (
	"encoding/binary"
	"fmt"
)

// TLSStream follows one direction of a TCP connection and checks that it is TLS records and nothing else. It has to
// see the connection from its start.
type TLSStream struct {
	started bool
	next    uint32            // sequence number of the byte that comes next
	early   map[uint32][]byte // what came before its turn
	header  []byte            // of a record, while incomplete
	skip    int               // bytes of the current record that are still to come
	Records int
}

// Take adds a segment, in whatever order and however often segments come. The error says what is no TLS record.
func (s *TLSStream) Take(p Packet) error {
	if p.SYN {
		s.started, s.next = true, p.Seq+1
		return nil
	}
	if len(p.Payload) == 0 {
		return nil
	}
	if !s.started {
		return fmt.Errorf("%s to %s: data without a start", p.Src, p.Dst)
	}
	if int32(p.Seq-s.next) > 0 {
		if s.early == nil {
			s.early = make(map[uint32][]byte)
		}
		if len(s.early[p.Seq]) < len(p.Payload) {
			s.early[p.Seq] = append([]byte(nil), p.Payload...)
		}
		return nil
	}
	if err := s.consume(p.Seq, p.Payload); err != nil {
		return fmt.Errorf("%s to %s: %w", p.Src, p.Dst, err)
	}
	for again := true; again; {
		again = false
		for seq, b := range s.early {
			if int32(seq-s.next) > 0 {
				continue
			}
			delete(s.early, seq)
			if err := s.consume(seq, b); err != nil {
				return fmt.Errorf("%s to %s: %w", p.Src, p.Dst, err)
			}
			again = true
		}
	}
	return nil
}

// Gap says whether something between was never seen.
func (s *TLSStream) Gap() bool { return len(s.early) > 0 }

// consume reads what is new of a segment that starts at or before next.
func (s *TLSStream) consume(seq uint32, b []byte) error {
	known := int(s.next - seq)
	if known >= len(b) {
		return nil
	}
	b = b[known:]
	s.next += uint32(len(b))
	for len(b) > 0 {
		if s.skip > 0 {
			n := min(s.skip, len(b))
			s.skip, b = s.skip-n, b[n:]
			continue
		}
		n := min(5-len(s.header), len(b))
		s.header, b = append(s.header, b[:n]...), b[n:]
		if len(s.header) < 5 {
			return nil
		}
		if err := s.record(); err != nil {
			return err
		}
	}
	return nil
}

// record reads a header: type 20 to 23, version 3.1 or 3.3, a length of at most 2^14+256 (RFC 8446, 5.1 and 5.2).
func (s *TLSStream) record() error {
	h := s.header
	size := int(binary.BigEndian.Uint16(h[3:]))
	if h[0] < 20 || h[0] > 23 || h[1] != 3 || h[2] != 1 && h[2] != 3 || size == 0 || size > 1<<14+256 {
		return fmt.Errorf("% x begins no TLS record", h)
	}
	s.Records++
	s.skip, s.header = size, s.header[:0]
	return nil
}
