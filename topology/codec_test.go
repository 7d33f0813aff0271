package topology

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := genRecord(t)
		b, err := EncodeRecord(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeRecord(b)
		if err != nil {
			t.Fatalf("%v in %x", err, b)
		}
		if !reflect.DeepEqual(r, back) {
			t.Fatalf("came back as %+v, was %+v", back, r)
		}
		if again, _ := EncodeRecord(back); !bytes.Equal(again, b) {
			t.Fatalf("encoded twice: %x and %x", b, again)
		}
	})
}

func TestMessageRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := genMessage(t)
		b, err := EncodeMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeMessage(b)
		if err != nil {
			t.Fatalf("%v in %x", err, b)
		}
		if !reflect.DeepEqual(m, back) {
			t.Fatalf("came back as %+v, was %+v", back, m)
		}
	})
}

// No prefix, no added byte and no other encoding of the same values is a second name for them.
func TestRecordHasOneEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, err := EncodeRecord(genRecord(t))
		if err != nil {
			t.Fatal(err)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := DecodeRecord(b[:cut]); err == nil {
			t.Fatalf("took the first %d of %d bytes", cut, len(b))
		}
		if _, err := DecodeRecord(append(bytes.Clone(b), 0)); err == nil {
			t.Fatal("took a trailing byte")
		}
		var fields map[int]any
		if err := cbor.Unmarshal(b, &fields); err != nil {
			t.Fatal(err)
		}
		loose := looseMap(t, fields)
		if bytes.Equal(loose, b) {
			return
		}
		if _, err := DecodeRecord(loose); err == nil {
			t.Fatalf("took keys out of order: %x", loose)
		}
	})
}

// looseMap encodes fields in an order that rapid picks.
func looseMap(t *rapid.T, fields map[int]any) []byte {
	keys := make([]int, 0, len(fields))
	for i := range 40 {
		if _, ok := fields[i]; ok {
			keys = append(keys, i)
		}
	}
	b := []byte{0xa0 | byte(len(keys))}
	for _, k := range rapid.Permutation(keys).Draw(t, "order") {
		b = append(b, byte(k))
		v, err := encMode.Marshal(fields[k])
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, v...)
	}
	return b
}

func TestDecodeMessageRefuses(t *testing.T) {
	id := strings.Repeat("11", 16)
	id2 := strings.Repeat("22", 16)
	for _, c := range []struct{ name, hex, want string }{
		{"nothing", "", "not a CBOR map"},
		{"a number", "01", "not a CBOR map"},
		{"an array", "80", "not a CBOR map"},
		{"null", "f6", "not a CBOR map"},
		{"trailing byte", "a1088201" + "00", ""},
		{"two fields", "a206a201010201" + "07a201010201", "2 fields"},
		{"duplicate key", "a206a20101020106a201010201", "duplicate"},
		{"duplicate key within", "a106a301010102" + "0201", "duplicate"},
		{"indefinite map", "bf06a201010201ff", "indefinite"},
		{"indefinite bytes", "a109a1015f4161ff", "indefinite"},
		{"long head", "a106a2011801" + "0201", "deterministic"},
		{"long key", "a11806a201010201", "deterministic"},
		{"keys out of order", "a106a202010101", "deterministic"},
		{"long head in an unknown key", "a106a30101020109" + "1801", "deterministic"},
		{"unknown keys out of order", "a106a4010102010a" + "010901", "deterministic"},
		{"tag", "a106a201c1010201", "tag"},
		{"float for a number", "a106a201f93c000201", ""},
		{"bad UTF-8", "a109a10161ff", "UTF-8"},
		{"reason as bytes", "a109a1014161", ""},
		{"short id", "a108a20150" + id[2:] + "02a201010201", ""},
		{"short id by length", "a108a2014f" + id[2:] + "02a201010201", "15 bytes"},
		{"long id", "a108a20151" + id + "11" + "02a201010201", "17 bytes"},
		{"id as array", "a108a20190" + strings.Repeat("01", 16) + "02a201010201", ""},
		{"zero id", "a108a20150" + strings.Repeat("00", 16) + "02a201010201", "nobody"},
		{"floor of 2^63", "a108a20150" + id + "02a2011b8000000000000000" + "0201", "beyond what a node can reach"},
		{"null version", "a108a20150" + id + "02f6", "type or length"},
		{"missing version", "a108a10150" + id, "type or length"},
		{"null in a list", "a101a10181f6", "type or length"},
		{"array of 2^32 without them", "a101a1019affffffff", ""},
		{"deep", "a10a" + strings.Repeat("81", 40) + "01", "nested"},
		{"seen on loopback", "a103a20100" + "0246" + "7f00000101" + "1a", "loopback"},
		{"seen with a zone", "a103a20100" + "0256" + "fe80" + strings.Repeat("00", 13) + "01" + "65746830" + "7f1a", "zone"},
		{"seen of slot 3", "a103a20103" + "0246" + "0a0000011a7f", "slot 3"},
		{"seen with short address", "a103a20100" + "0245" + "0a0000017f", ""},
		{"routed to itself", "a105a50150" + id + "0250" + id + "03010501" + "0801", "to itself"},
		{"routed with 33 hops", "a105a50150" + id + "0250" + id2 + "0301" + "0501" + "081821", "33 hops"},
		{"records without body", "a10281a30140024101034101", "sealed"},
		{"signature of 65 bytes", "a10281a3014101025841" + strings.Repeat("01", 65) + "034101", "sealed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := hex.DecodeString(c.hex)
			if err != nil {
				t.Fatal(err)
			}
			m, err := DecodeMessage(b)
			if err == nil {
				t.Fatalf("taken as %+v", m)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Fatalf("says %q, want something with %q", err, c.want)
			}
		})
	}
}

func TestDecodeMessageSkipsTheUnknown(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		want      Message
	}{
		{"empty", "a0", Message{}},
		{"unknown key only", "a1181e8201a10203", Message{}},
		{"unknown text key only", "a16161182a", Message{}},
		{"unknown beside", "a206a2010102010a01", Message{Ping: &Ping{Nonce: 1, Graph: 1}}},
		{"unknown within", "a106a30101020203a10102", Message{Ping: &Ping{Nonce: 1, Graph: 2}}},
		{"empty list of records", "a10280", Message{Records: []Sealed{}}},
		{"a later phase is for the core to judge", "a104a30101020903a4010002" + "5820" + strings.Repeat("33", 32) +
			"030004" + "5820" + strings.Repeat("44", 32), Message{PSK: &PSKStep{Epoch: 1, Phase: 9, Tunnel: TunnelPair{
			MyKey: [32]byte(bytes.Repeat([]byte{0x33}, 32)), YourKey: [32]byte(bytes.Repeat([]byte{0x44}, 32)),
		}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := hex.DecodeString(c.hex)
			if err != nil {
				t.Fatal(err)
			}
			m, err := DecodeMessage(b)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(m, c.want) {
				t.Fatalf("got %+v, want %+v", m, c.want)
			}
		})
	}
}

func TestEncodeMessageRefuses(t *testing.T) {
	for name, m := range map[string]Message{
		"nothing":   {},
		"two":       {Ping: &Ping{}, Pong: &Ping{}},
		"too large": {Records: slicesOf(40, Sealed{Body: make([]byte, MaxRecord)})},
		"bad seen":  {Seen: &Seen{Endpoint{Addr: netip.MustParseAddrPort("127.0.0.1:1")}}},
	} {
		if _, err := EncodeMessage(m); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func slicesOf[T any](n int, v T) []T {
	s := make([]T, n)
	for i := range s {
		s[i] = v
	}
	return s
}

func TestSealBytesSeparatesMeshes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "mesh"), rapid.String().Draw(t, "other mesh")
		x, y := rapid.SliceOf(rapid.Byte()).Draw(t, "body"), rapid.SliceOf(rapid.Byte()).Draw(t, "other body")
		equal := a == b && bytes.Equal(x, y)
		if bytes.Equal(SealBytes(a, x), SealBytes(b, y)) != equal {
			t.Fatalf("%q %x and %q %x", a, x, b, y)
		}
	})
}
