package l2bridge

import (
	"encoding/binary"
	"math/bits"
)

// The internet checksum (RFC 1071) does not care about byte order: sums are kept in the machine's own and written back
// in it, so that eight bytes can be added at once.

// sum adds the bytes of b to a sum in one's complement. Pieces other than the last must have an even length.
func sum(b []byte, acc uint64) uint64 {
	var c uint64
	for len(b) >= 64 {
		p := (*[64]byte)(b)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[0:]), 0)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[8:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[16:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[24:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[32:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[40:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[48:]), c)
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(p[56:]), c)
		acc += c
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(b), 0)
		acc += c
		b = b[8:]
	}
	if len(b) == 0 {
		return acc
	}
	var tail [8]byte
	copy(tail[:], b)
	acc, c = bits.Add64(acc, binary.NativeEndian.Uint64(tail[:]), 0)
	return acc + c
}

// add16 adds a number that stands in network byte order in a header.
func add16(acc uint64, v uint16) uint64 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	acc, c := bits.Add64(acc, uint64(binary.NativeEndian.Uint16(b[:])), 0)
	return acc + c
}

// fold reduces a sum to 16 bits.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc)
}

// finish turns a sum into the checksum, to be written in the machine's byte order.
func finish(acc uint64) uint16 { return ^fold(acc) }
