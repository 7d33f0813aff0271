package carrier

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"
)

// world is two sockets with two carriers and a stream in between.
type world struct {
	a, b     *net.UDPConn // of the tunnel's ends
	atA, atB netip.AddrPort
}

// newWorld joins them; a is not told to its carrier, which has to find out.
func newWorld(t testing.TB) *world {
	t.Helper()
	near, far := streams(t)
	w := &world{a: socketT(t), b: socketT(t)}
	w.atA, _ = start(t, near, netip.AddrPort{})
	w.atB, _ = start(t, far, addressOf(w.b))
	return w
}

// TestIntact: 100,000 datagrams of all lengths, both ways at once, each where it belongs and none damaged.
func TestIntact(t *testing.T) {
	w := newWorld(t)
	if _, err := w.a.WriteToUDPAddrPort([]byte("first"), w.atA); err != nil { // now its carrier knows where a is
		t.Fatal(err)
	}
	buf := make([]byte, room)
	if n, from, err := w.b.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "first" || from != w.atB {
		t.Fatalf("%q from %v: %v", buf[:n], from, err)
	}
	failed := make(chan error, 2)
	go func() { failed <- exchange(w.a, w.atA, w.b, 50000, 1) }()
	go func() { failed <- exchange(w.b, w.atB, w.a, 50000, 2) }()
	for range 2 {
		must(t, <-failed)
	}
}

// exchange sends n datagrams, a few of them on the way at a time, and compares what arrives.
func exchange(from *net.UDPConn, by netip.AddrPort, to *net.UDPConn, n int, seed uint64) error {
	const window = 3
	lengths := rand.New(rand.NewPCG(seed, 1))
	expected := rand.New(rand.NewPCG(seed, 1))
	arrived := make(chan struct{}, window)
	for range window {
		arrived <- struct{}{}
	}
	received := make(chan error, 1)
	go func() {
		buf := make([]byte, room)
		for i := range n {
			size, _, err := to.ReadFromUDPAddrPort(buf)
			if err == nil && (size != lengthOf(expected) || !isPattern(buf[:size], i, seed)) {
				err = errors.New("damaged, lost or out of order")
			}
			if err != nil {
				received <- err
				close(arrived)
				return
			}
			arrived <- struct{}{}
		}
		received <- nil
	}()
	buf := make([]byte, room)
	for i := range n {
		if _, ok := <-arrived; !ok {
			break
		}
		b := buf[:lengthOf(lengths)]
		pattern(b, i, seed)
		if _, err := from.WriteToUDPAddrPort(b, by); err != nil {
			return err
		}
	}
	return <-received
}

// lengthOf draws the length of a datagram: mostly those of a tunnel, some as long as UDP has.
func lengthOf(r *rand.Rand) int {
	switch r.IntN(100) {
	case 0:
		return maxDatagram - r.IntN(3)
	case 1:
		return 1 + r.IntN(maxDatagram)
	}
	return 1 + r.IntN(1500)
}

// pattern fills b so that every datagram is another one.
func pattern(b []byte, i int, seed uint64) {
	x := uint64(i)*0x9e3779b97f4a7c15 + seed
	for at := range b {
		b[at] = byte(x >> (at % 8 * 8))
	}
}

func isPattern(b []byte, i int, seed uint64) bool {
	x := uint64(i)*0x9e3779b97f4a7c15 + seed
	for at := range b {
		if b[at] != byte(x>>(at%8*8)) {
			return false
		}
	}
	return true
}

// TestOnlyThePeer: nobody else on this host gets into the stream.
func TestOnlyThePeer(t *testing.T) {
	w := newWorld(t)
	stranger := socketT(t)
	buf := make([]byte, room)
	send := func(c *net.UDPConn, to netip.AddrPort, text string) {
		t.Helper()
		_, err := c.WriteToUDPAddrPort([]byte(text), to)
		must(t, err)
	}
	expect := func(c *net.UDPConn, want string) {
		t.Helper()
		if n, _, err := c.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != want {
			t.Fatalf("%q, want %q: %v", buf[:n], want, err)
		}
	}
	send(w.a, w.atA, "the first is the peer")
	expect(w.b, "the first is the peer")
	send(stranger, w.atA, "stranger")
	send(w.a, w.atA, "") // nothing to carry
	send(w.a, w.atA, "again")
	expect(w.b, "again")
	send(stranger, w.atB, "stranger")
	send(w.b, w.atB, "the peer that was named")
	expect(w.a, "the peer that was named")
}

// TestStuckReader: a stream that nobody reads costs no memory and no time, and what comes out of it at last is new.
func TestStuckReader(t *testing.T) {
	near, far := streams(t)
	a := socketT(t)
	by, _ := start(t, near, addressOf(a))
	datagram := make([]byte, 1400)
	send := func(i int) {
		binary.BigEndian.PutUint64(datagram, uint64(i))
		_, err := a.WriteToUDPAddrPort(datagram, by)
		must(t, err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const sent = 100000 // 140 MB
	for i := range sent {
		send(i)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("memory grew by %d kB", grown>>10)
	}
	d := new(deframer)
	lastSeen, count := -1, 0
	begin := time.Now()
	for i := sent; lastSeen < sent; i++ {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("what is sent now does not arrive")
		}
		send(i)
		must(t, d.fill(far))
		for {
			b, ok, err := d.next()
			must(t, err)
			if !ok {
				break
			}
			if len(b) == 0 {
				continue
			}
			seen := int(binary.BigEndian.Uint64(b))
			if len(b) != 1400 || seen <= lastSeen {
				t.Fatalf("%d bytes, number %d after %d", len(b), seen, lastSeen)
			}
			lastSeen, count = seen, count+1
		}
	}
	if count > sent/2 {
		t.Errorf("%d of %d were kept for later", count, sent)
	}
}

func TestTheFarEndCloses(t *testing.T) {
	near, far := streams(t)
	_, ended := start(t, near, netip.AddrPort{})
	far.Close()
	if err := <-ended; err == nil || strings.Contains(err.Error(), "deadline") {
		t.Errorf("got %v", err)
	}
}

// TestTheFarEndIsSilent: signs of life are sent in silence, and a peer that sends none is gone.
func TestTheFarEndIsSilent(t *testing.T) {
	near, far := streams(t)
	socket := socketT(t)
	ended := make(chan error, 1)
	go func() {
		ended <- run(context.Background(), near, socket, netip.AddrPort{}, 50*time.Millisecond, time.Second)
	}()
	for range 5 {
		sign := make([]byte, frameHeader)
		if _, err := io.ReadFull(far, sign); err != nil || sign[0] != 0 || sign[1] != 0 {
			t.Fatalf("%x, %v", sign, err)
		}
		_, err := far.Write(sign)
		must(t, err)
	}
	select {
	case err := <-ended:
		t.Fatalf("ended in spite of signs of life: %v", err)
	default:
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "nothing came for 1s") {
		t.Errorf("got %v", err)
	}
	if _, err := io.Copy(io.Discard, far); errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestTheFarEndBreaksTheFraming(t *testing.T) {
	near, far := streams(t)
	_, ended := start(t, near, netip.AddrPort{})
	_, err := far.Write([]byte{0xff, 0xff})
	must(t, err)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "a datagram of 65535 bytes") {
		t.Errorf("got %v", err)
	}
}

// TestSocketIsUsedAgain: the socket stays, with its port, for the next stream.
func TestSocketIsUsedAgain(t *testing.T) {
	socket, tunnel := socketT(t), socketT(t)
	sentinel := errors.New("enough")
	for range 3 {
		near, far := streams(t)
		ctx, cancel := context.WithCancelCause(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, near, socket, netip.AddrPort{}) }()
		_, err := tunnel.WriteToUDPAddrPort([]byte("hello"), addressOf(socket))
		must(t, err)
		got := make([]byte, 7)
		if _, err := io.ReadFull(far, got); err != nil || string(got) != "\x00\x05hello" {
			t.Fatalf("%q, %v", got, err)
		}
		cancel(sentinel)
		if err := <-ended; !errors.Is(err, sentinel) {
			t.Errorf("got %v", err)
		}
		if _, err := near.Write([]byte{0}); err == nil {
			t.Error("the stream is still open")
		}
	}
	near, _ := streams(t)
	if err := Run(context.Background(), near, socket, netip.MustParseAddrPort("[::1]:6783")); err == nil || !strings.Contains(err.Error(), "IPv4") {
		t.Errorf("a peer that the socket cannot reach: %v", err)
	}
}

// TestSocketIsClosed ends the run too.
func TestSocketIsClosed(t *testing.T) {
	near, _ := streams(t)
	socket := socketT(t)
	ended := make(chan error, 1)
	go func() { ended <- Run(context.Background(), near, socket, netip.AddrPort{}) }()
	socket.Close()
	if err := <-ended; err == nil {
		t.Error("no error")
	}
}

// BenchmarkThroughput is datagrams of a tunnel with MTU 1420 through a stream on loopback, as fast as they go.
func BenchmarkThroughput(b *testing.B) {
	w := newWorld(b)
	payload, buf := make([]byte, 1452), make([]byte, room)
	const window = 64
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	credit := make(chan struct{}, window)
	for range window {
		credit <- struct{}{}
	}
	go func() {
		for range b.N {
			if <-credit; true {
				_, _ = w.a.WriteToUDPAddrPort(payload, w.atA)
			}
		}
	}()
	for range b.N {
		if _, _, err := w.b.ReadFromUDPAddrPort(buf); err != nil {
			b.Fatal(err)
		}
		credit <- struct{}{}
	}
}
