package topology

import (
	"bytes"
	"testing"
)

// What was decoded can be encoded again, and comes back the same; nothing panics.
func FuzzMessage(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil || m.fields() == 0 {
			return
		}
		again, err := EncodeMessage(m)
		if err != nil {
			t.Fatalf("decoded but cannot be encoded: %v", err)
		}
		if len(again) > len(b) {
			t.Fatalf("%d bytes grew to %d", len(b), len(again))
		}
		if _, err := DecodeMessage(again); err != nil {
			t.Fatalf("encoded but cannot be decoded: %v", err)
		}
	})
}

func FuzzRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err != nil {
			return
		}
		again, err := EncodeRecord(r)
		if err != nil {
			t.Fatalf("decoded but cannot be encoded: %v", err)
		}
		if len(again) == len(b) && !bytes.Equal(again, b) {
			t.Fatalf("two encodings of one record: %x and %x", b, again)
		}
	})
}
