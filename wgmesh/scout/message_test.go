package scout

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

var (
	key   = DeriveKey([32]byte{1, 2, 3}, []byte("test"))
	other = DeriveKey([32]byte{1, 2, 3}, []byte("test 2"))
)

func seen(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestRoundTrip(t *testing.T) {
	for _, m := range []Message{
		{Kind: Request, Size: Length, Tx: 1, Counter: 2},
		{Kind: Request, Size: 1420, Tx: 1 << 63, Counter: 1<<64 - 1},
		{Kind: Request, Size: 65535},
		{Kind: Request, Size: Length, Observed: seen("192.0.2.1:1")},
		{Kind: Answer, Size: 1420, Tx: 5, Observed: seen("192.0.2.1:65535")},
		{Kind: Answer, Size: Length, Observed: seen("[2001:db8::1]:6786")},
	} {
		b := Encode(key, m)
		want := Length
		if m.Kind == Request {
			want = int(m.Size)
		}
		if len(b) != want {
			t.Errorf("%+v: %d bytes, want %d", m, len(b), want)
		}
		m.Tag = key.Tag
		if tag, ok := Peek(b); !ok || tag != key.Tag {
			t.Errorf("%+v: peeked %x, %v", m, tag, ok)
		}
		if got, err := Decode(key, b); err != nil || got != m {
			t.Errorf("got %+v, %v, want %+v", got, err, m)
		}
	}
}

// The layout is a promise to other versions.
func TestLayout(t *testing.T) {
	k := Key{Tag: [8]byte{0xa0, 1, 2, 3, 4, 5, 6, 7}}
	b := Encode(k, Message{Kind: Answer, Size: 0x0123, Tx: 0x1122334455667788, Counter: 0x99, Observed: seen("192.0.2.1:6783")})
	want := "77767767" + "02000123" + "a001020304050607" + "1122334455667788" + "0000000000000099" +
		"04001a7f" + "c0000201" + strings.Repeat("00", 12)
	if got := hex.EncodeToString(b[:offMAC]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if binary.LittleEndian.Uint32(b) <= 4 {
		t.Error("WireGuard may take it for its own")
	}
}

func TestMappedAddressesGoAsIPv4(t *testing.T) {
	m, err := Decode(key, Encode(key, Message{Kind: Request}.Answered(seen("[::ffff:192.0.2.1]:9"))))
	if err != nil || m.Observed != seen("192.0.2.1:9") {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestAnswerRepeatsTheRequest(t *testing.T) {
	got := Message{Kind: Request, Size: 1300, Tag: key.Tag, Tx: 7, Counter: 8}.Answered(seen("192.0.2.1:9"))
	if want := (Message{Kind: Answer, Size: 1300, Tag: key.Tag, Tx: 7, Counter: 8, Observed: seen("192.0.2.1:9")}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestEveryBitCounts(t *testing.T) {
	b := Encode(key, Message{Kind: Request, Size: Length + 4, Tx: 3, Counter: 4})
	for i := range 8 * len(b) {
		bad := bytes.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		if m, err := Decode(key, bad); err == nil {
			t.Errorf("bit %d changed, still %+v", i, m)
		}
	}
	for n := range b {
		if _, err := Decode(key, b[:n]); err == nil {
			t.Errorf("accepted %d bytes of %d", n, len(b))
		}
	}
	if _, err := Decode(key, append(b, 0)); !errors.Is(err, ErrForm) {
		t.Errorf("longer than promised: %v", err)
	}
}

func TestOtherKeys(t *testing.T) {
	b := Encode(key, Message{Kind: Request})
	if _, err := Decode(other, b); !errors.Is(err, ErrForged) {
		t.Errorf("another key: %v", err)
	}
	if _, err := Decode(Key{Tag: key.Tag, Secret: other.Secret}, b); !errors.Is(err, ErrForged) {
		t.Errorf("another secret: %v", err)
	}
	if key.Tag == other.Tag || key.Secret == other.Secret || [8]byte(key.Secret[:8]) == key.Tag {
		t.Error("contexts do not tell keys apart")
	}
}

// Even who holds the key cannot say one thing in two ways.
func TestSpareBytesAreZero(t *testing.T) {
	for _, at := range []int{offKind, offKind + 1, offFamily, offFamily + 1, offPort, offObserved + 3, offObserved + 4, offMAC - 1} {
		b := Encode(key, Message{Kind: Request, Size: Length})
		b[at] ^= 0x40
		copy(b[offMAC:], key.mac(b[:offMAC]))
		if m, err := Decode(key, b); !errors.Is(err, ErrForm) {
			t.Errorf("byte %d: %+v, %v", at, m, err)
		}
	}
	mapped := Encode(key, Message{Kind: Answer, Observed: seen("[2001:db8::1]:1")})
	ip := netip.MustParseAddr("::ffff:192.0.2.1").As16()
	copy(mapped[offObserved:], ip[:])
	copy(mapped[offMAC:], key.mac(mapped[:offMAC]))
	if _, err := Decode(key, mapped); !errors.Is(err, ErrForm) {
		t.Errorf("IPv4 as IPv6: %v", err)
	}
}

func TestKeysStayOutOfLogs(t *testing.T) {
	for _, text := range []string{fmt.Sprint(key), fmt.Sprintf("%+v %#v %s", key, key, []Key{key})} {
		if strings.Contains(text, hex.EncodeToString(key.Secret[:])) || strings.Contains(text, "Secret") {
			t.Errorf("prints its secret: %s", text)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(Encode(key, Message{Kind: Request, Size: 100, Tx: 1, Counter: 2}), true)
	f.Add(Encode(key, Message{Kind: Answer, Size: 100, Observed: seen("192.0.2.1:3")}), true)
	f.Add(Encode(key, Message{Kind: Answer, Size: 100, Observed: seen("[2001:db8::1]:3")}), false)
	f.Add([]byte(Magic), false)
	f.Fuzz(func(t *testing.T, b []byte, signed bool) {
		if signed && len(b) >= Length { // let the search get past tag and MAC
			b = bytes.Clone(b)
			copy(b[offTag:], key.Tag[:])
			copy(b[offMAC:], key.mac(b[:offMAC]))
		}
		m, err := Decode(key, b)
		if err != nil {
			return
		}
		if again := Encode(key, m); !bytes.Equal(again, b) {
			t.Errorf("%+v came from\n%x and goes as\n%x", m, b, again)
		}
	})
}
