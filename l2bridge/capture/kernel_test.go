package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
)

func addIPv4(t *testing.T, p *pair, l netlink.Link, cidr string) {
	t.Helper()
	a, err := netlink.ParseAddr(cidr)
	ok(t, err)
	ok(t, p.links.AddrAdd(l, a))
}

func neighbour(t *testing.T, p *pair, l netlink.Link, ip net.IP) {
	t.Helper()
	ok(t, p.links.NeighSet(&netlink.Neigh{
		LinkIndex: l.Attrs().Index, State: unix.NUD_PERMANENT, IP: ip, HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 2},
	}))
}

// tcpFrame makes a TCP frame that awaits segmentation, with random headers.
func tcpFrame(r *rand.Rand, v6 bool) l2bridge.Frame {
	var b []byte
	b = append(b, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1)
	if r.IntN(3) == 0 {
		b = append(b, 0x81, 0, byte(r.IntN(8)<<5), 9)
	}
	options, payload := r.IntN(11)*4, 1+r.IntN(20000)
	if v6 {
		b = append(b, 0x86, 0xdd, 0x60, 2, 3, 4)
		b = binary.BigEndian.AppendUint16(b, uint16(20+options+payload))
		b = append(b, 6, 63)
	} else {
		b = append(b, 8, 0, 0x45, 2)
		b = binary.BigEndian.AppendUint16(b, uint16(40+options+payload))
		b = append(b, byte(r.Uint32()), byte(r.Uint32()), 0x40, 0, 63, 6, 0, 0)
	}
	at := len(b)
	n := 8
	if v6 {
		n = 32
	}
	for range n {
		b = append(b, byte(r.Uint32()))
	}
	addresses := b[at : at+n]
	if !v6 {
		binary.BigEndian.PutUint16(b[at-2:], ^plainSum(slices.Clone(b[at-12:at+n])))
	}
	start := len(b)
	for range 20 + options + payload {
		b = append(b, byte(r.Uint32()))
	}
	tcp := b[start:]
	tcp[12] = byte(5+options/4) << 4
	tcp[13] = 0x10 | byte(r.Uint32())&0x89 // ACK and some of CWR, PSH, FIN
	for i := range options {
		tcp[20+i] = 1
	}
	pseudo := append(slices.Clone(addresses), 0, 6, byte(len(tcp)>>8), byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], plainSum(pseudo))
	f := l2bridge.Frame{Data: b, Offload: l2bridge.Offload{
		Kind: l2bridge.TCPv4, NeedsChecksum: true, Start: uint16(start), Offset: 16, HeaderLen: uint16(start + 20 + options),
		Size: uint16(500 + r.IntN(800)), ECN: tcp[13]&0x80 != 0,
	}}
	if v6 {
		f.Offload.Kind = l2bridge.TCPv6
	}
	return f
}

// TestTheKernelCutsAsWeDo injects frames that await segmentation into an interface which cannot do it, so that the
// kernel cuts them in software, and compares with Segmenter. Frames no longer than one segment are none of its.
func TestTheKernelCutsAsWeDo(t *testing.T) {
	p := newPair(t)
	there, here := open(p, OpenAFPacket, "po"), open(p, OpenAFPacket, "ca")
	p.inside(func() error {
		e, err := ethtool.NewEthtool()
		if err != nil {
			return err
		}
		defer e.Close()
		return e.Change("po", map[string]bool{
			"tx-tcp-segmentation": false, "tx-tcp6-segmentation": false, "tx-tcp-ecn-segmentation": false,
			"tx-checksum-ip-generic": false, "tx-generic-segmentation": true,
		})
	})
	r := rand.New(rand.NewPCG(3, 4))
	var s l2bridge.Segmenter
	for i := range 300 {
		f := tcpFrame(r, i%2 == 0)
		k, why := l2bridge.ParseKey(f.Data)
		if why != l2bridge.Forwarded {
			t.Fatal(why)
		}
		s.Reset()
		want, why := s.Cut(&f, &k, 1)
		if why != l2bridge.Forwarded {
			t.Fatalf("frame %d: %s", i, why)
		}
		if len(want) == 1 {
			continue
		}
		write(t, there, f)
		for j, got := range read(t, here, len(want)) {
			mine := slices.Concat(want[j].Head, want[j].Payload)[l2bridge.VXLANHeader:]
			if !bytes.Equal(got.Data, mine) || got.Offload.Kind != l2bridge.Whole || got.Offload.NeedsChecksum {
				t.Fatalf("frame %d, segment %d of %d, %+v: the kernel's\n%x\nours\n%x", i, j, len(want), got.Offload, got.Data[:min(100, len(got.Data))], mine[:min(100, len(mine))])
			}
		}
	}
}

// TestWholeFramesPassWithTheirMetadata sends frames that await segmentation through, tagged and not.
func TestWholeFramesPassWithTheirMetadata(t *testing.T) {
	p := newPair(t)
	there, here := open(p, OpenAFPacket, "po"), open(p, OpenAFPacket, "ca")
	p.inside(func() error { return Prepare("po", true) })
	r := rand.New(rand.NewPCG(5, 6))
	for i := range 100 {
		f := tcpFrame(r, i%2 == 0)
		if len(f.Data) < testMTU+200 {
			continue
		}
		write(t, there, f)
		got := read(t, here, 1)[0]
		got.Offload.HeaderLen, f.Offload.HeaderLen = 0, 0 // a hint: the kernel tells how much of its memory is in one piece
		if !bytes.Equal(got.Data, f.Data) || got.Offload != f.Offload {
			t.Fatalf("frame %d: %d bytes %+v, sent %d bytes %+v\n%x\n%x", i, len(got.Data), got.Offload, len(f.Data), f.Offload, got.Data[:80], f.Data[:80])
		}
	}
	if lost := here.Lost(); lost != (Lost{}) {
		t.Errorf("%+v", lost)
	}
}
