package keeper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
	"pgregory.net/rapid"
)

// room is what WireGuard leaves before each packet.
const room = 16

// wire is a TUN made of two sockets: what is written at one end is read at the other, packet by packet.
type wire struct {
	tun.Device // what childTUN leaves to it is written as it is
	ends       [2]*os.File
	bufs       [][]byte // like WireGuard's, and full of something else
	sizes      []int
}

func newWire(t testing.TB) (*wire, *childTUN) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{sizes: make([]int, 128)}
	for range w.sizes {
		w.bufs = append(w.bufs, bytes.Repeat([]byte{0xa5}, longest))
	}
	for i, fd := range fds {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 64<<20); err != nil {
			t.Fatal(err)
		}
		w.ends[i] = os.NewFile(uintptr(fd), "wire")
		t.Cleanup(func() { w.ends[i].Close() })
	}
	c := &childTUN{Device: w, joins: true, reader: newTUNReader(), writer: newTUNWriter()}
	if c.conn, err = w.ends[0].SyscallConn(); err != nil {
		t.Fatal(err)
	}
	return w, c
}

func (w *wire) Write(bufs [][]byte, offset int) (int, error) {
	for _, b := range bufs {
		clear(b[offset-vnetHeader : offset])
		if _, err := w.ends[0].Write(b[offset-vnetHeader:]); err != nil {
			return 0, err
		}
	}
	return len(bufs), nil
}

// drain throws away what was written.
func (w *wire) drain(t testing.TB) {
	t.Helper()
	conn, err := w.ends[1].SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1)
	err = conn.Control(func(fd uintptr) {
		for {
			if _, err := unix.Read(int(fd), b); err != nil {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// taken copies what a read of n packets put into the buffers.
func (w *wire) taken(n int) [][]byte {
	got := make([][]byte, n)
	for i := range got {
		got[i] = slices.Clone(w.bufs[i][room:][:w.sizes[i]])
	}
	return got
}

// given lets the TUN hand out a packet with this header, and returns what the child makes of it.
func (w *wire) given(t interface{ Fatal(...any) }, c *childTUN, v vnet, packet []byte) [][]byte {
	raw := make([]byte, vnetHeader, vnetHeader+len(packet))
	v.put(raw)
	raw[1] = v.kind
	if _, err := w.ends[1].Write(append(raw, packet...)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(w.bufs, w.sizes, room)
	if err != nil {
		t.Fatal(err)
	}
	return w.taken(n)
}

// flow is what packets of one kind have in common.
type flow struct {
	v4, udp bool
	options int // bytes of TCP options
	ports   uint16
	id      uint16
	seq     uint32
}

// packet is the slow twin of everything here: a library's idea of packet i of a flow, all of whose packets but the last
// have size bytes of payload.
func (f flow) packet(i, size int, payload []byte, first, last bool) []byte {
	var ip gopacket.SerializableLayer
	var network gopacket.NetworkLayer
	protocol := layers.IPProtocolTCP
	if f.udp {
		protocol = layers.IPProtocolUDP
	}
	if f.v4 {
		l := &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: f.id + uint16(i), Flags: layers.IPv4DontFragment, Protocol: protocol,
			SrcIP: net.IPv4(192, 0, 2, 1), DstIP: net.IPv4(192, 0, 2, 2)}
		ip, network = l, l
	} else {
		l := &layers.IPv6{Version: 6, HopLimit: 64, FlowLabel: 77, NextHeader: protocol,
			SrcIP: net.ParseIP("fd00::1"), DstIP: net.ParseIP("fd00::2")}
		ip, network = l, l
	}
	var transport gopacket.SerializableLayer
	if f.udp {
		l := &layers.UDP{SrcPort: layers.UDPPort(f.ports), DstPort: layers.UDPPort(f.ports + 1)}
		_ = l.SetNetworkLayerForChecksum(network)
		transport = l
	} else {
		l := &layers.TCP{SrcPort: layers.TCPPort(f.ports), DstPort: 80, Seq: f.seq + uint32(i*size), Ack: 9, ACK: true, Window: 500,
			CWR: first, PSH: last, FIN: last}
		for range f.options {
			l.Options = append(l.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop})
		}
		_ = l.SetNetworkLayerForChecksum(network)
		transport = l
	}
	out := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	err := gopacket.SerializeLayers(out, options, ip, transport, gopacket.Payload(payload))
	if err != nil {
		panic(err)
	}
	return out.Bytes()
}

// headers returns where the protocol's header and the payload begin.
func (f flow) headers() (start, end int) {
	start = ip6Header
	if f.v4 {
		start = 20
	}
	if f.udp {
		return start, start + udpHeader
	}
	return start, start + tcpHeader + f.options
}

// uncut is the packet that becomes these, as the kernel gives it to the TUN: the first one's headers, all payload, and
// the pseudo header's sum for a checksum.
func (f flow) uncut(packets [][]byte, size int) (vnet, []byte) {
	start, end := f.headers()
	whole := slices.Clone(packets[0])
	for _, p := range packets[1:] {
		whole = append(whole, p[end:]...)
	}
	v := vnet{needsChecksum: true, size: uint16(size), start: uint16(start), offset: 16, kind: unix.VIRTIO_NET_HDR_GSO_TCPV6}
	protocol := byte(unix.IPPROTO_TCP)
	length := len(whole) - start
	switch {
	case f.udp:
		v.kind, v.offset, protocol = unix.VIRTIO_NET_HDR_GSO_UDP_L4, udpChecksum, unix.IPPROTO_UDP
		binary.BigEndian.PutUint16(whole[start+udpLength:], uint16(length))
	default:
		whole[start+tcpFlags] |= packets[len(packets)-1][start+tcpFlags]
		if f.v4 {
			v.kind = unix.VIRTIO_NET_HDR_GSO_TCPV4
		}
	}
	if f.v4 {
		binary.BigEndian.PutUint16(whole[ip4Length:], uint16(len(whole)))
	} else {
		binary.BigEndian.PutUint16(whole[ip6Length:], uint16(length))
	}
	binary.NativeEndian.PutUint16(whole[start+int(v.offset):], fold(pseudo(whole, protocol, length)))
	return v, whole
}

func drawFlow(t *rapid.T) flow {
	return flow{
		v4: rapid.Bool().Draw(t, "IPv4"), udp: rapid.Bool().Draw(t, "UDP"), options: 4 * rapid.IntRange(0, 10).Draw(t, "options"),
		ports: uint16(rapid.SampledFrom([]int{4788, 53}).Draw(t, "port")),
		id:    rapid.Uint16().Draw(t, "id"), seq: rapid.Uint32().Draw(t, "seq"),
	}
}

// drawPackets returns packets that one uncut packet can hold.
func drawPackets(t *rapid.T, f flow, size int) (packets [][]byte) {
	_, end := f.headers()
	n := rapid.IntRange(1, min(64, (longest-end)/size)).Draw(t, "packets")
	last := rapid.SampledFrom([]int{size, 1, (size + 1) / 2, size - size/3}).Draw(t, "last")
	seed := rapid.Byte().Draw(t, "seed")
	for i := range n {
		payload := make([]byte, size)
		if i == n-1 {
			payload = payload[:last]
		}
		for j := range payload {
			payload[j] = byte(j*7+i) ^ seed
		}
		packets = append(packets, f.packet(i, size, payload, i == 0, i == n-1))
	}
	return packets
}

var sizes = []int{1372, 1372, 1324, 1024, 1023, 999, 64, 8000, 17000}

func TestCutIsWhatItWasMadeOf(t *testing.T) {
	w, c := newWire(t)
	rapid.Check(t, func(t *rapid.T) {
		f, size := drawFlow(t), rapid.SampledFrom(sizes).Draw(t, "size")
		packets := drawPackets(t, f, size)
		v, whole := f.uncut(packets, size)
		v.headers = rapid.Uint16().Draw(t, "header length, a hint")
		if !f.udp && rapid.Bool().Draw(t, "ECN") {
			v.kind |= unix.VIRTIO_NET_HDR_GSO_ECN
		}
		same(t, w.given(t, c, v, whole), packets)
	})
}

func same(t interface{ Fatalf(string, ...any) }, got, want [][]byte) {
	if len(got) != len(want) {
		t.Fatalf("%d packets instead of %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("packet %d of %d:\n got %x\nwant %x", i, len(want), got[i], want[i])
		}
	}
}

func TestWholePackets(t *testing.T) {
	w, c := newWire(t)
	rapid.Check(t, func(t *rapid.T) {
		f := drawFlow(t)
		size := rapid.SampledFrom([]int{0, 1, 7, 100, 1372, 1460, 9000, 60000}).Draw(t, "size")
		want := f.packet(0, 0, make([]byte, size), false, false)
		got := slices.Clone(want)
		v := vnet{}
		if rapid.Bool().Draw(t, "checksum pending") {
			start, _ := f.headers()
			protocol := byte(unix.IPPROTO_TCP)
			v = vnet{needsChecksum: true, start: uint16(start), offset: 16}
			if f.udp {
				v.offset, protocol = udpChecksum, unix.IPPROTO_UDP
			}
			binary.NativeEndian.PutUint16(got[start+int(v.offset):], fold(pseudo(got, protocol, len(got)-start)))
		}
		same(t, w.given(t, c, v, got), [][]byte{want})
	})
	same(t, w.given(t, c, vnet{}, []byte{0x45}), [][]byte{{0x45}})
}

// A checksum of zero says in UDP that there is none: 0xffff is sent instead.
func TestChecksumThatComesOutAsZero(t *testing.T) {
	w, c := newWire(t)
	f := flow{udp: true, ports: 4788}
	payload := make([]byte, 2)
	plain := f.packet(0, 2, payload, true, true)
	copy(payload, plain[ip6Header+udpChecksum:]) // what is missing to a sum of ffff
	want := f.packet(0, 2, payload, true, true)
	if got := want[ip6Header+udpChecksum:][:2]; !bytes.Equal(got, []byte{0xff, 0xff}) {
		binary.BigEndian.PutUint16(want[ip6Header+udpChecksum:], 0xffff) // the library writes zero
	}
	v, whole := f.uncut([][]byte{want}, 2)
	same(t, w.given(t, c, v, whole), [][]byte{want})
	v.kind = unix.VIRTIO_NET_HDR_GSO_NONE
	same(t, w.given(t, c, v, whole), [][]byte{want})
}

// Whatever is written comes out again when it is cut, in order, and in few pieces.
func TestJoinedIsCutAgain(t *testing.T) {
	w, c := newWire(t)
	reader, err := w.ends[1].SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cut := newTUNReader()
	rapid.Check(t, func(t *rapid.T) {
		var want [][]byte
		atMost := 0
		for range rapid.IntRange(1, 3).Draw(t, "runs") {
			f := drawFlow(t)
			packets := drawPackets(t, f, rapid.SampledFrom(sizes).Draw(t, "size"))
			if rapid.IntRange(0, 4).Draw(t, "spoilt") == 0 {
				i := rapid.IntRange(0, len(packets)-1).Draw(t, "which")
				packets[i][len(packets[i])-1] ^= 0x55 // with a wrong checksum
				atMost += 2
			}
			packets = packets[:min(len(packets), 128-len(want))]
			want = append(want, packets...)
			if f.udp && !f.v4 {
				atMost++
			} else {
				atMost += len(packets)
			}
		}
		var bufs [][]byte
		for _, p := range want {
			bufs = append(bufs, append(make([]byte, room), p...))
		}
		if _, err := c.Write(bufs, room); err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		for writes := 0; len(got) < len(want); writes++ {
			if writes == atMost {
				t.Fatalf("%d packets took more than %d writes", len(want), atMost)
			}
			n, err := cut.read(reader, w.bufs, w.sizes, room)
			if err != nil || n == 0 {
				t.Fatalf("%d packets, %v", n, err)
			}
			got = append(got, w.taken(n)...)
		}
		same(t, got, want)
	})
}

// Headers that lie are dropped, and the device goes on.
func FuzzTUN(f *testing.F) {
	good := flow{udp: true, ports: 4788}
	v, whole := good.uncut([][]byte{good.packet(0, 3, []byte("abc"), true, true)}, 3)
	raw := make([]byte, vnetHeader)
	v.put(raw)
	f.Add(append(raw, whole...))
	f.Add([]byte{1, 1, 0, 0, 1, 0, 20, 0, 16, 0, 0x45})
	w, c := newWire(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) == 0 || len(raw) > vnetHeader+longest {
			return
		}
		if _, err := w.ends[1].Write(raw); err != nil {
			t.Fatal(err)
		}
		n, err := c.Read(w.bufs, w.sizes, room)
		if err != nil && !errors.Is(err, tun.ErrTooManySegments) {
			t.Fatal(err)
		}
		packets := w.taken(n)
		for i, p := range packets {
			packets[i] = append(make([]byte, room), p...)
		}
		if _, err := c.Write(packets, room); err != nil {
			t.Fatal(err)
		}
		w.drain(t)
	})
}
