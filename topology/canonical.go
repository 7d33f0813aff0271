package topology

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// CBOR major types (RFC 8949, section 3.1) that have something inside.
const (
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
)

var (
	errNotCanonical = errors.New("not in deterministic encoding")
	errMended       = errors.New("a field has the wrong type or length")
)

// canonical checks that got, which the decoder has found well formed, is in deterministic encoding, and that it says
// the same as want, the encoding of what was decoded from it. Map keys that only got has are skipped: newer nodes may
// say more. So one value has one encoding, and an array of 31 bytes is no key of 32 with a zero behind it, which the
// decoder alone would make of it.
func canonical(got, want []byte) error {
	rest, restWant, err := same(got, want)
	if err == nil && len(rest)+len(restWant) != 0 {
		return errNotCanonical
	}
	return err
}

// same compares the first item of got with that of want and returns what follows each.
func same(got, want []byte) ([]byte, []byte, error) {
	major, n, rest, err := head(got)
	if err != nil {
		return nil, nil, err
	}
	wantMajor, wantN, wantRest, err := head(want)
	if err != nil || major != wantMajor || major != majorMap && n != wantN {
		return nil, nil, errMended
	}
	switch major {
	case majorBytes, majorText:
		if n > uint64(len(rest)) || n > uint64(len(wantRest)) || !bytes.Equal(rest[:n], wantRest[:n]) {
			return nil, nil, errMended
		}
		return rest[n:], wantRest[n:], nil
	case majorArray:
		for range n {
			if rest, wantRest, err = same(rest, wantRest); err != nil {
				return nil, nil, err
			}
		}
		return rest, wantRest, nil
	case majorMap:
		return sameMap(n, rest, wantN, wantRest)
	}
	return rest, wantRest, nil
}

// sameMap compares the n pairs at the start of got with the wantN pairs at the start of want.
func sameMap(n uint64, got []byte, wantN uint64, want []byte) ([]byte, []byte, error) {
	var last []byte
	for range n {
		afterKey, err := skip(got)
		if err != nil {
			return nil, nil, err
		}
		key := got[:len(got)-len(afterKey)]
		if last != nil && bytes.Compare(last, key) >= 0 {
			return nil, nil, errNotCanonical
		}
		last = key
		if wantN > 0 && bytes.HasPrefix(want, key) {
			wantN--
			if got, want, err = same(afterKey, want[len(key):]); err != nil {
				return nil, nil, err
			}
			continue
		}
		if got, err = skip(afterKey); err != nil {
			return nil, nil, err
		}
	}
	if wantN != 0 {
		return nil, nil, errMended
	}
	return got, want, nil
}

// skip returns what follows the first item of b, which must be deterministic itself.
func skip(b []byte) ([]byte, error) {
	major, n, rest, err := head(b)
	if err != nil {
		return nil, err
	}
	switch major {
	case majorBytes, majorText:
		if n > uint64(len(rest)) {
			return nil, errNotCanonical
		}
		return rest[n:], nil
	case majorArray:
		for range n {
			if rest, err = skip(rest); err != nil {
				return nil, err
			}
		}
	case majorMap:
		rest, _, err = sameMap(n, rest, 0, nil)
		return rest, err
	}
	return rest, nil
}

// head reads the type and the argument of the first item of b, and refuses an argument that fits fewer bytes.
func head(b []byte) (major byte, n uint64, rest []byte, err error) {
	if len(b) == 0 {
		return 0, 0, nil, errNotCanonical
	}
	major, info, rest := b[0]>>5, b[0]&31, b[1:]
	if info < 24 {
		return major, uint64(info), rest, nil
	}
	width := 1 << (info - 24)
	if info > 27 || len(rest) < width {
		return 0, 0, nil, errNotCanonical
	}
	var wide [8]byte
	copy(wide[8-width:], rest[:width])
	n = binary.BigEndian.Uint64(wide[:])
	if major != majorSimple && (n < 24 || width > 1 && n>>(4*width) == 0) {
		return 0, 0, nil, errNotCanonical
	}
	return major, n, rest[width:], nil
}

// majorSimple holds floats and simple values, whose argument is no number.
const majorSimple = 7
