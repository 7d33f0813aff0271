package forwarder

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// Whatever way datagrams come in, joined or alone, each session's leave whole, in order and apart from the others'.
func TestDatagramsStayWhole(t *testing.T) {
	to := []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:2")}
	type lane struct {
		to    netip.AddrPort
		index byte
	}
	rapid.Check(t, func(t *rapid.T) {
		s := newSender(&socket{family: unix.AF_INET})
		gso := rapid.Bool().Draw(t, "gso")
		s.socket.gso.Store(gso)
		want, got := map[lane][][]byte{}, map[lane][][]byte{}
		for number := uint64(0); s.room(128) && number < 400; {
			// A receive: datagrams of one length, the last one perhaps shorter, of sessions as they come.
			size := rapid.SampledFrom([]int{32, 100, 1200, 1452}).Draw(t, "size")
			dest := to[rapid.IntRange(0, 1).Draw(t, "to")]
			var all []byte
			n := rapid.IntRange(1, 45).Draw(t, "datagrams")
			index := uint32(0)
			for i := range n {
				length := size
				if i == n-1 {
					length = rapid.IntRange(32, size).Draw(t, "last")
				}
				if rapid.IntRange(0, 9).Draw(t, "other") == 0 {
					index = uint32(rapid.IntRange(0, 2).Draw(t, "index"))
				}
				p := data(index, length, number)
				number++
				all = append(all, p...)
				l := lane{dest, byte(index)}
				want[l] = append(want[l], p)
			}
			ttl := uint8(rapid.IntRange(63, 64).Draw(t, "ttl"))
			for len(all) > 0 {
				run, count := first(all, size)
				if c := (len(run) + size - 1) / size; c != count {
					t.Fatalf("%d datagrams in %d bytes of %d", count, len(run), size)
				}
				s.add(session{to: dest, index: uint32(run[4]), meta: meta{ttl: ttl}}, run, size)
				all = all[len(run):]
			}
		}
		for i := range s.n {
			o := &s.sends[i]
			s.prepare(i)
			whole := joined(o.iovs)
			if o.count > maxSegments || len(whole) > maxDatagrams || len(whole) != o.bytes || !gso && o.count > 1 {
				t.Fatalf("send of %d datagrams, %d bytes, counts %d", o.count, len(whole), o.bytes)
			}
			l := lane{o.to, byte(o.index)}
			count := 0
			for ; len(whole) > 0; count++ {
				p := whole[:min(o.size, len(whole))]
				whole = whole[len(p):]
				got[l] = append(got[l], p)
			}
			if m, size := o.control.get(); count != o.count || m.ttl != o.meta.ttl || size != 0 {
				t.Fatalf("send of %d datagrams, counts %d; %+v", count, o.count, m)
			}
		}
		for l := range want {
			if len(got[l]) != len(want[l]) {
				t.Fatalf("%v: %d datagrams, want %d", l, len(got[l]), len(want[l]))
			}
			for i := range want[l] {
				if !bytes.Equal(got[l][i], want[l][i]) {
					t.Fatalf("%v: datagram %d is %.20x, want %.20x", l, i, got[l][i], want[l][i])
				}
			}
		}
	})
}
