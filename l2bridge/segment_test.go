package l2bridge

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

// gso describes a TCP frame that awaits segmentation.
type gso struct {
	v6      bool
	tags    int
	options int // 32-bit words of TCP options
	flags   byte
	seq     uint32
	id      uint16
	size    int
	payload []byte
}

func drawGSO(t *rapid.T) gso {
	g := gso{
		v6: rapid.Bool().Draw(t, "v6"), tags: rapid.IntRange(0, 2).Draw(t, "tags"), options: rapid.IntRange(0, 10).Draw(t, "options"),
		flags: flagACK | byte(rapid.IntRange(0, 255).Draw(t, "flags"))&(flagFIN|flagPSH|flagCWR|0x40),
		seq:   rapid.Uint32().Draw(t, "seq"), id: rapid.Uint16().Draw(t, "id"), size: rapid.IntRange(1, 1460).Draw(t, "size"),
	}
	n := g.size*rapid.IntRange(1, 44).Draw(t, "segments") + rapid.IntRange(0, g.size-1).Draw(t, "rest")
	g.payload = make([]byte, min(n, 65535-60-60))
	r := rand.New(rand.NewPCG(uint64(g.seq), uint64(g.id)))
	for i := range g.payload {
		g.payload[i] = byte(r.Uint32())
	}
	return g
}

// layersOf builds the headers for a piece of the payload with gopacket, which shares no code with what is tested.
func (g *gso) layersOf(flags byte, seq uint32, id uint16, payload []byte) []gopacket.SerializableLayer {
	types := []layers.EthernetType{layers.EthernetTypeQinQ, layers.EthernetTypeDot1Q, layers.EthernetTypeIPv4}
	if g.v6 {
		types[2] = layers.EthernetTypeIPv6
	}
	types = types[2-g.tags:]
	eth := &layers.Ethernet{SrcMAC: station1[:], DstMAC: station2[:], EthernetType: types[0]}
	out := []gopacket.SerializableLayer{eth}
	for i := range g.tags {
		out = append(out, &layers.Dot1Q{VLANIdentifier: uint16(100 + i), Type: types[i+1]})
	}
	tcp := &layers.TCP{
		SrcPort: 1234, DstPort: 80, Seq: seq, Ack: 0x01020304, Window: 4321,
		FIN: flags&flagFIN != 0, PSH: flags&flagPSH != 0, ACK: true, CWR: flags&flagCWR != 0, ECE: flags&0x40 != 0,
	}
	for range g.options {
		tcp.Options = append(tcp.Options, layers.TCPOption{OptionType: 254, OptionLength: 4, OptionData: []byte{7, 9}})
	}
	if g.v6 {
		ip := &layers.IPv6{
			Version: 6, TrafficClass: 2, FlowLabel: 0xabcde, HopLimit: 63, NextHeader: layers.IPProtocolTCP,
			SrcIP: netip.MustParseAddr("fd00::1").AsSlice(), DstIP: netip.MustParseAddr("fd00::2").AsSlice(),
		}
		_ = tcp.SetNetworkLayerForChecksum(ip)
		return append(out, ip, tcp, gopacket.Payload(payload))
	}
	ip := &layers.IPv4{
		Version: 4, TOS: 2, TTL: 63, Id: id, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP,
		SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{10, 0, 0, 2},
	}
	_ = tcp.SetNetworkLayerForChecksum(ip)
	return append(out, ip, tcp, gopacket.Payload(payload))
}

type fataler interface {
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func serialize(t fataler, l []gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, l...); err != nil {
		t.Fatal(err)
	}
	n := 0 // gopacket pads to 60 bytes; a segment on its way in software is not padded
	for _, layer := range l {
		switch layer := layer.(type) {
		case *layers.Ethernet:
			n += EthernetHeader
		case *layers.Dot1Q:
			n += VLANTag
		case *layers.IPv4:
			n += int(layer.Length)
		case *layers.IPv6:
			n += ip6Min + int(layer.Length)
		}
	}
	return slices.Clone(b.Bytes()[:n])
}

// frame returns the frame as a capture gives it: the pseudo header's sum in the place of the checksum.
func (g *gso) frame(t fataler) (Frame, Key) {
	f := Frame{Data: serialize(t, g.layersOf(g.flags, g.seq, g.id, g.payload))}
	k, why := ParseKey(f.Data)
	if why != Forwarded {
		t.Fatalf("frame is %s", why)
	}
	ip := f.Data[k.Header():]
	pseudo, start := []byte{}, k.Header()+ip4Min
	if f.Offload.Kind = TCPv4; g.v6 {
		f.Offload.Kind, start = TCPv6, k.Header()+ip6Min
		pseudo = append(pseudo, ip[ip6Src:ip6Min]...)
	} else {
		pseudo = append(pseudo, ip[ip4Src:ip4Min]...)
	}
	pseudo = binary.BigEndian.AppendUint16(append(pseudo, 0, protocolTCP), uint16(len(f.Data)-start))
	binary.BigEndian.PutUint16(f.Data[start+tcpChecksum:], ^slowChecksum(pseudo))
	f.Offload.NeedsChecksum, f.Offload.ECN = true, g.flags&flagCWR != 0
	f.Offload.Size, f.Offload.Start, f.Offload.Offset = uint16(g.size), uint16(start), tcpChecksum
	f.Offload.HeaderLen = uint16(start + tcpMin + 4*g.options)
	return f, k
}

// segments are what the frame must become.
func (g *gso) segments(t fataler) (out [][]byte) {
	for at := 0; at < len(g.payload); at += g.size {
		part := g.payload[at:min(at+g.size, len(g.payload))]
		flags := g.flags
		if at > 0 {
			flags &^= flagCWR
		}
		if at+len(part) < len(g.payload) {
			flags &^= flagFIN | flagPSH
		}
		out = append(out, serialize(t, g.layersOf(flags, g.seq+uint32(at), g.id+uint16(at/g.size), part)))
	}
	return out
}

func TestCutAgainstItsTwin(t *testing.T) {
	var s Segmenter
	rapid.Check(t, func(t *rapid.T) {
		g := drawGSO(t)
		f, k := g.frame(t)
		if rapid.Bool().Draw(t, "reset") {
			s.Reset()
		}
		got, why := s.Cut(&f, &k, 0x123456)
		want := g.segments(t)
		if why != Forwarded || len(got) != len(want) {
			t.Fatalf("%s, %d segments, want %d", why, len(got), len(want))
		}
		for i := range got {
			packet := slices.Concat(got[i].Head, got[i].Payload)
			vni, inner, why := ParseVXLAN(packet)
			if vni != 0x123456 || why != Forwarded || !bytes.Equal(inner, want[i]) {
				t.Fatalf("segment %d of %d (%s):\n%x\nwant\n%x", i, len(got), why, inner, want[i])
			}
		}
	})
}

func TestCutKeepsEarlierPacketsUntilReset(t *testing.T) {
	var s Segmenter
	var all [][]byte
	var parts []Segment
	for i := range 50 {
		g := gso{size: 1000, seq: uint32(i), payload: bytes.Repeat([]byte{byte(i)}, 9999), flags: flagPSH}
		f, k := g.frame(t)
		got, _ := s.Cut(&f, &k, 1)
		parts = append(parts, got...)
		all = append(all, g.segments(t)...)
	}
	for i := range parts {
		if got := slices.Concat(parts[i].Head, parts[i].Payload)[VXLANHeader:]; !bytes.Equal(got, all[i]) {
			t.Fatalf("packet %d was overwritten", i)
		}
	}
}

func TestCutRefusesMetadataThatDoesNotFit(t *testing.T) {
	g := gso{size: 100, payload: make([]byte, 1000)}
	for name, spoil := range map[string]func(*Frame){
		"no size":              func(f *Frame) { f.Offload.Size = 0 },
		"no checksum":          func(f *Frame) { f.Offload.NeedsChecksum = false },
		"start behind the end": func(f *Frame) { f.Offload.Start = 60000 },
		"start elsewhere":      func(f *Frame) { f.Offload.Start += 2 },
		"start in Ethernet":    func(f *Frame) { f.Offload.Start = 2 },
		"offset":               func(f *Frame) { f.Offload.Offset = 6 },
		"IPv6 claimed":         func(f *Frame) { f.Offload.Kind = TCPv6 },
		"TCP header too long":  func(f *Frame) { f.Data = f.Data[:60]; f.Data[46] = 0xf0 },
		"TCP header too short": func(f *Frame) { f.Data[46] = 0x10 },
		"UDP":                  func(f *Frame) { f.Data[23] = 17 },
		"no payload":           func(f *Frame) { f.Data = f.Data[:54] },
		"too many segments":    func(f *Frame) { f.Offload.Size = 1; f.Data = append(f.Data, make([]byte, 3000)...) },
		"longer than IP":       func(f *Frame) { f.Data = append(f.Data, make([]byte, 66000)...) },
	} {
		f, k := g.frame(t)
		spoil(&f)
		var s Segmenter
		if got, why := s.Cut(&f, &k, 1); why != BadOffload {
			t.Errorf("%s: %s, %d segments", name, why, len(got))
		}
	}
	whole := Frame{Data: frame(station1, station2, 0x0800), Offload: Offload{NeedsChecksum: true, Start: 14, Offset: 6}}
	k, _ := ParseKey(whole.Data)
	var s Segmenter
	if _, why := s.Cut(&whole, &k, 1); why != BadOffload {
		t.Errorf("checksum behind the end: %s", why)
	}
}

func TestCutCompletesAPendingChecksum(t *testing.T) {
	g := gso{size: 1400, payload: []byte("hello"), flags: flagPSH}
	f, k := g.frame(t)
	f.Offload.Kind = Whole
	var s Segmenter
	got, why := s.Cut(&f, &k, 1)
	if why != Forwarded || !bytes.Equal(got[0].Payload, g.segments(t)[0]) {
		t.Fatalf("%s\n%x", why, got)
	}
}

func TestJoinGivesBackWhatWasCut(t *testing.T) {
	var s Segmenter
	var c Coalescer
	rapid.Check(t, func(t *rapid.T) {
		s.Reset()
		g := drawGSO(t)
		g.tags = 0
		want, _ := g.frame(t)
		pieces := g.segments(t)
		for _, p := range pieces {
			p := slices.Clone(p)
			k, _ := ParseKey(p)
			c.Add(p, &k)
		}
		var again [][]byte
		joined := c.Flush()
		for i := range joined {
			f := Frame{Data: slices.Concat(joined[i].Parts...), Offload: joined[i].Offload}
			if f.Offload.Kind == Whole {
				again = append(again, f.Data)
				continue
			}
			k, _ := ParseKey(f.Data)
			cut, why := s.Cut(&f, &k, 1)
			if why != Forwarded {
				t.Fatalf("joined frame is %s", why)
			}
			for j := range cut {
				again = append(again, slices.Concat(cut[j].Head, cut[j].Payload)[VXLANHeader:])
			}
		}
		if !slices.EqualFunc(again, pieces, bytes.Equal) {
			t.Fatalf("%d pieces come back as %d, or changed", len(pieces), len(again))
		}
		if len(pieces) > 1 && len(pieces) < maxParts { // and it is one frame again: the very one
			if len(joined) != 1 || !bytes.Equal(slices.Concat(joined[0].Parts...), want.Data) {
				t.Fatalf("%d pieces were joined to %d frames", len(pieces), len(joined))
			}
			want.Offload.ECN = g.flags&flagCWR != 0
			if joined[0].Offload != want.Offload {
				t.Fatalf("metadata %+v, want %+v", joined[0].Offload, want.Offload)
			}
		}
	})
}

func TestJoinLeavesAloneWhatMustNotBeJoined(t *testing.T) {
	edit := func(at int, v byte) func([]byte) { return func(b []byte) { b[at] ^= v } }
	for name, spoil := range map[string]func(second []byte){
		"TTL": edit(22, 1), "TOS": edit(15, 1), "DF": edit(20, 0x40), "id": edit(19, 0x10), "source": edit(29, 1),
		"port": edit(35, 1), "sequence": edit(41, 1), "ack": edit(45, 1), "window": edit(49, 1), "urgent": edit(53, 1),
		"SYN": edit(47, flagSYN), "RST": edit(47, flagRST), "URG": edit(47, flagURG), "CWR": edit(47, flagCWR), "ECE": edit(47, 0x40),
		"no ACK": edit(47, flagACK), "reserved bits": edit(46, 1), "MAC": edit(5, 1), "fragment": edit(21, 1), "more fragments": edit(20, 0x20),
		"wrong checksum": edit(60, 1), "wrong IP checksum": edit(24, 1), "length lies": edit(17, 1),
	} {
		g := gso{size: 100, payload: make([]byte, 200)}
		p := g.segments(t)
		spoil(p[1])
		if name != "wrong checksum" && name != "wrong IP checksum" && name != "length lies" {
			fix(p[1])
		}
		var c Coalescer
		want := [][]byte{slices.Clone(p[0]), slices.Clone(p[1])}
		for _, b := range p {
			k, _ := ParseKey(b)
			c.Add(b, &k)
		}
		out := c.Flush()
		if len(out) != 2 || !bytes.Equal(out[0].Parts[0], want[0]) || !bytes.Equal(out[1].Parts[0], want[1]) {
			t.Errorf("%s: joined to %d frames, or changed", name, len(out))
		}
	}
	g := gso{size: 100, payload: make([]byte, 300)}
	p := g.segments(t)
	var c Coalescer
	for _, b := range append(p[:2:2], append(slices.Clone(p[2]), 0, 0)) { // padding behind the last
		k, _ := ParseKey(b)
		c.Add(b, &k)
	}
	if out := c.Flush(); len(out) != 2 {
		t.Errorf("a padded segment was joined: %d frames", len(out))
	}
	c.Disabled = true
	for _, b := range g.segments(t) {
		k, _ := ParseKey(b)
		c.Add(b, &k)
	}
	if out := c.Flush(); len(out) != 3 {
		t.Errorf("disabled, and joined to %d frames", len(out))
	}
}

// fix writes right checksums into an IPv4 TCP frame without options.
func fix(b []byte) {
	copy(b[24:], []byte{0, 0})
	binary.BigEndian.PutUint16(b[24:], slowChecksum(b[14:34]))
	copy(b[50:], []byte{0, 0})
	pseudo := append(slices.Clone(b[26:34]), 0, protocolTCP, byte((len(b)-34)>>8), byte(len(b)-34))
	binary.BigEndian.PutUint16(b[50:], slowChecksum(pseudo, b[34:]))
}

func TestCutAndJoinAllocateNothing(t *testing.T) {
	g := gso{size: 1318, payload: make([]byte, 60000)}
	f, k := g.frame(t)
	pieces := g.segments(t)
	keys := make([]Key, len(pieces))
	for i := range pieces {
		keys[i], _ = ParseKey(pieces[i])
	}
	copies := make([][]byte, len(pieces))
	for i := range pieces {
		copies[i] = slices.Clone(pieces[i])
	}
	var s Segmenter
	var c Coalescer
	if n := testing.AllocsPerRun(20, func() {
		s.Reset()
		s.Cut(&f, &k, 1)
		copy(copies[0], pieces[0])
		for i := range copies {
			c.Add(copies[i], &keys[i])
		}
		if len(c.Flush()) != 1 {
			t.Fatal("not joined")
		}
	}); n != 0 {
		t.Fatalf("%v allocations for a frame of 60 kB", n)
	}
}

func FuzzCut(f *testing.F) {
	g := gso{size: 100, payload: make([]byte, 1000)}
	fr, _ := g.frame(f)
	f.Add(fr.Data, uint8(fr.Offload.Kind), fr.Offload.Size, fr.Offload.Start, fr.Offload.Offset, true)
	g.v6 = true
	fr, _ = g.frame(f)
	f.Add(fr.Data, uint8(fr.Offload.Kind), fr.Offload.Size, fr.Offload.Start, fr.Offload.Offset, true)
	f.Add(fr.Data, uint8(Whole), uint16(0), fr.Offload.Start, fr.Offload.Offset, true)
	f.Fuzz(func(t *testing.T, b []byte, kind uint8, size, start, offset uint16, needs bool) {
		k, why := ParseKey(b)
		if why != Forwarded {
			return
		}
		fr := Frame{Data: b, Offload: Offload{Kind: Segmentation(kind % 3), Size: size, Start: start, Offset: offset, NeedsChecksum: needs}}
		var s Segmenter
		segments, why := s.Cut(&fr, &k, 1)
		if why != Forwarded {
			return
		}
		total := 0
		for i := range segments {
			total += len(segments[i].Payload)
		}
		if len(segments) == 0 || total > len(b) {
			t.Fatalf("%d segments with %d bytes out of %d", len(segments), total, len(b))
		}
	})
}

func FuzzJoin(f *testing.F) {
	g := gso{size: 100, payload: make([]byte, 250), flags: flagPSH}
	p := g.segments(f)
	f.Add(p[0], p[1], p[2])
	g.v6 = true
	p = g.segments(f)
	f.Add(p[0], p[1], p[2])
	f.Fuzz(func(t *testing.T, a, b, d []byte) {
		in := 0
		var c Coalescer
		for _, x := range [][]byte{a, b, d} {
			k, why := ParseKey(x)
			if why != Forwarded {
				continue
			}
			in++
			c.Add(slices.Clone(x), &k)
		}
		var s Segmenter
		out := 0
		for _, j := range c.Flush() {
			fr := Frame{Data: slices.Concat(j.Parts...), Offload: j.Offload}
			k, _ := ParseKey(fr.Data)
			cut, why := s.Cut(&fr, &k, 1)
			if why != Forwarded {
				t.Fatalf("joined frame is %s", why)
			}
			out += len(cut)
		}
		if in != out {
			t.Fatalf("%d frames went in, %d come out", in, out)
		}
	})
}
