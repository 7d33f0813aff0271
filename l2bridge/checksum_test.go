package l2bridge

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// slowChecksum is RFC 1071 as it is written: 16 bits at a time.
func slowChecksum(pieces ...[]byte) uint16 {
	var acc uint32
	for _, b := range pieces {
		for len(b) > 1 {
			acc += uint32(binary.BigEndian.Uint16(b))
			b = b[2:]
		}
		if len(b) == 1 {
			acc += uint32(b[0]) << 8
		}
		for acc > 0xffff {
			acc = acc>>16 + acc&0xffff
		}
	}
	return ^uint16(acc)
}

// wire gives a checksum as it stands in a header.
func wire(native uint16) uint16 {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], native)
	return binary.BigEndian.Uint16(b[:])
}

func TestChecksumAgainstItsTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "first")
		a = a[:len(a)&^1]
		b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "last")
		if rapid.Bool().Draw(t, "ones") {
			for i := range a {
				a[i] = 0xff // carries everywhere
			}
		}
		v := rapid.Uint16().Draw(t, "number")
		got := wire(finish(sum(b, add16(sum(a, 0), v))))
		want := slowChecksum(a, binary.BigEndian.AppendUint16(nil, v), b)
		if got != want {
			t.Fatalf("%04x, twin %04x", got, want)
		}
	})
}

func BenchmarkChecksum(b *testing.B) {
	p := make([]byte, 1400)
	for i := range p {
		p[i] = byte(rand.IntN(256))
	}
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		sum(p, 0)
	}
}
