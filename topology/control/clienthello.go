package control

import (
	"encoding/binary"
	"errors"
	"slices"
)

// maxClientHello bounds the first flight of a client, record headers included; ours has about 1,500 bytes.
const maxClientHello = 4096

var (
	errIncomplete = errors.New("incomplete ClientHello")
	errNotHello   = errors.New("not a TLS ClientHello")
)

// Numbers of TLS (RFC 8446, sections 4 and 5; RFC 6066, section 3).
const (
	recordHandshake     = 22
	handshakeHello      = 1
	extensionServerName = 0
	nameTypeHost        = 0
)

// serverName returns the server name in the TLS ClientHello at the start of b, which may span several records.
// errIncomplete asks for more bytes, errNotHello says that none will help. Only what leads to the name is looked at:
// whether the rest makes sense is for crypto/tls to say.
func serverName(b []byte) (string, error) {
	hello, err := joinRecords(b)
	if err != nil {
		return "", err
	}
	r := reader(hello[4:])
	r.skip(2 + 32)            // legacy_version, random
	r.vector(1)               // legacy_session_id
	r.vector(2)               // cipher_suites
	r.vector(1)               // legacy_compression_methods
	extensions := r.vector(2) // extensions
	if len(r) > 0 {
		return "", errNotHello
	}
	for len(extensions) > 0 {
		kind := extensions.number(2)
		data := extensions.vector(2)
		if kind != extensionServerName || data == nil {
			continue
		}
		names := data.vector(2)
		nameType := names.number(1)
		name := names.vector(2)
		if name == nil || nameType != nameTypeHost || len(names) > 0 || len(data) > 0 {
			return "", errNotHello
		}
		return string(name), nil
	}
	return "", errNotHello
}

// joinRecords returns the handshake message, header included, that the records at the start of b carry.
func joinRecords(b []byte) ([]byte, error) {
	var message []byte
	joined := false // message is a copy of ours and not a part of b
	for {
		// A stranger's first byte already tells most of them apart.
		if len(b) > 0 && b[0] != recordHandshake || len(b) > 1 && b[1] != 3 {
			return nil, errNotHello
		}
		if len(b) < 5 {
			return nil, errIncomplete
		}
		size := int(binary.BigEndian.Uint16(b[3:]))
		if size == 0 || size > maxClientHello {
			return nil, errNotHello
		}
		part := b[5:]
		whole := len(part) >= size
		if whole {
			part = part[:size]
		}
		switch {
		case message == nil: // the usual case: one record, no copy
			message = part
		case !joined:
			message, joined = slices.Concat(message, part), true
		default:
			message = append(message, part...)
		}
		if len(message) > 0 && message[0] != handshakeHello {
			return nil, errNotHello
		}
		if len(message) >= 4 {
			want := 4 + int(message[1])<<16 + int(message[2])<<8 + int(message[3])
			if want > maxClientHello || whole && len(message) > want {
				return nil, errNotHello
			}
			if whole && len(message) == want {
				return message, nil
			}
		}
		if !whole {
			return nil, errIncomplete
		}
		b = b[5+size:]
	}
}

// reader takes numbers and vectors off a message; once something is missing it is nil and gives nothing more.
type reader []byte

func (r *reader) skip(n int) reader {
	if len(*r) < n {
		*r = nil
		return nil
	}
	head := (*r)[:n:n]
	*r = (*r)[n:]
	return head
}

// number reads a big-endian number of width bytes; -1 when it is missing.
func (r *reader) number(width int) int {
	b := r.skip(width)
	if b == nil {
		return -1
	}
	n := 0
	for _, c := range b {
		n = n<<8 | int(c)
	}
	return n
}

// vector reads a length of width bytes and that many bytes; nil when they are missing.
func (r *reader) vector(width int) reader {
	n := r.number(width)
	if n < 0 {
		return nil
	}
	return r.skip(n)
}
