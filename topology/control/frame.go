package control

import (
	"encoding/binary"
	"fmt"
	"io"
)

// frameHeader is the length in front of everything that is sent inside TLS: 4 bytes, big-endian, itself not counted.
const frameHeader = 4

func appendFrame(b, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	return append(b, body...)
}

// readFrame returns the next frame's body. The length is checked before anything is allocated. io.EOF means that the
// stream ended between frames.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var header [frameHeader]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(header[:])
	if size == 0 || uint64(size) > uint64(limit) {
		return nil, &frameError{fmt.Sprintf("frame of %d bytes, want 1 to %d", size, limit)}
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(r, body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return body, nil
}

// frameError says that the peer broke the framing or the encoding of messages.
type frameError struct{ text string }

func (e *frameError) Error() string { return e.text }
