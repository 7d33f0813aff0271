package rawudp

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

// sample is an IPv4 packet with a UDP datagram and n words of options.
func sample(words int, payload string) []byte {
	b := make([]byte, 20+4*words, 100)
	b[0], b[9] = byte(4<<4|5+words), 17
	copy(b[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	h := udpHeader(1000, 2000, len(payload))
	putChecksum(&h, netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:])), []byte(payload))
	b = append(b, h[:]...)
	return append(b, payload...)
}

func FuzzParse4(f *testing.F) {
	for _, words := range []int{0, 1, 10} {
		f.Add(sample(words, "wvwg payload"))
		f.Add(sample(words, ""))
	}
	short := sample(0, "wvwg")
	f.Add(short[:27])
	short[25] = 200 // longer than the packet
	f.Add(short)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := parse4(b)
		if !ok {
			if d.payload != nil || d.to.IsValid() {
				t.Fatalf("refused, but gave %+v", d)
			}
			return
		}
		header := int(b[0]&15) * 4
		udp := b[header:]
		if !d.from.Addr().Is4() || d.from.Port() != binary.BigEndian.Uint16(udp) || d.to.Port() != binary.BigEndian.Uint16(udp[2:]) ||
			string(d.payload) != string(udp[8:binary.BigEndian.Uint16(udp[4:])]) {
			t.Fatalf("%x gave %+v", b, d)
		}
	})
}

func TestParse4(t *testing.T) {
	for _, words := range []int{0, 3, 10} {
		b := append(sample(words, "wvwg payload"), 0, 0) // an Ethernet frame's padding
		d, ok := parse4(b)
		if !ok || string(d.payload) != "wvwg payload" || d.from != netip.MustParseAddrPort("192.0.2.1:1000") ||
			d.to != netip.MustParseAddrPort("192.0.2.2:2000") {
			t.Errorf("%d words of options: %+v, %v", words, d, ok)
		}
		for n := range len(b) - 2 {
			if _, ok := parse4(b[:n]); ok {
				t.Errorf("took the first %d bytes of %d", n, len(b)-2)
			}
		}
	}
	other := sample(0, "wvwg")
	other[9] = 6
	if _, ok := parse4(other); ok {
		t.Error("took TCP for UDP")
	}
}

// TestChecksum against RFC 768's rule: the sum over everything, the checksum included, is all ones.
func TestChecksum(t *testing.T) {
	from, to := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.7")
	zero := false
	for i := range 1 << 16 {
		payload := []byte{byte(i >> 8), byte(i), 3}[:2+i%2]
		h := udpHeader(6783, 6784, len(payload))
		putChecksum(&h, from, to, payload)
		a, b := from.As4(), to.As4()
		total := add(add(add(add(17+8+uint64(len(payload)), a[:]), b[:]), h[:]), payload)
		for total > 0xffff {
			total = total>>16 + total&0xffff
		}
		got := binary.BigEndian.Uint16(h[6:])
		zero = zero || got == 0xffff
		if total != 0xffff || got == 0 {
			t.Fatalf("payload %x: checksum %#x, total %#x", payload, got, total)
		}
	}
	if !zero {
		t.Error("no case was one whose sum is zero")
	}
}
