package carrier

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	frameHeader = 2
	// maxDatagram is the longest payload of UDP over IPv4: 65535 less both headers.
	maxDatagram = 65535 - 20 - 8
)

// deframer finds datagrams in a stream. Its memory is of one size.
type deframer struct {
	buf        [128 << 10]byte // more than a frame and a TLS record
	start, end int             // what is in buf and was not taken
}

// fill reads once. It makes what next returned invalid.
func (d *deframer) fill(r io.Reader) error {
	if d.start == d.end {
		d.start, d.end = 0, 0
	} else if len(d.buf)-d.end < len(d.buf)/4 {
		d.end = copy(d.buf[:], d.buf[d.start:d.end])
		d.start = 0
	}
	n, err := r.Read(d.buf[d.end:])
	d.end += n
	if n > 0 {
		return nil // an error comes again
	}
	return err
}

// next returns the next datagram, one of no bytes for a sign of life; false: fill first. A length that UDP does not have
// is an error, and so is everything after it.
func (d *deframer) next() (datagram []byte, ok bool, err error) {
	if d.end-d.start < frameHeader {
		return nil, false, nil
	}
	size := int(binary.BigEndian.Uint16(d.buf[d.start:]))
	if size > maxDatagram {
		return nil, false, fmt.Errorf("a datagram of %d bytes, at most %d are possible", size, maxDatagram)
	}
	if d.end-d.start < frameHeader+size {
		return nil, false, nil
	}
	datagram = d.buf[d.start+frameHeader : d.start+frameHeader+size]
	d.start += frameHeader + size
	return datagram, true, nil
}
