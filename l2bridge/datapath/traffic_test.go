package datapath

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/capture"
	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/learner"
)

func TestPing(t *testing.T) {
	hosts := newHosts(t, 3)
	for _, to := range hosts[1:] {
		for _, args := range [][]string{
			{"-c1", "-W2", to.ip4.String()},
			{"-c1", "-W2", to.ip6.String()},
			{"-c1", "-W2", "-Mdo", "-s1402", to.ip4.String()}, // the whole MTU
			{"-c1", "-W2", "-s9000", to.ip6.String()},         // fragments
		} {
			if out, err := hosts[0].command("ping", args...); err != nil {
				t.Errorf("ping %v: %v\n%s", args, err, out)
			}
		}
	}
	macs := hosts[0].dp.MACs()
	if len(macs) != 1 {
		t.Fatalf("%d networks", len(macs))
	}
	for _, h := range hosts {
		want := h.id
		if h == hosts[0] {
			want = learner.Local
		}
		found := false
		for _, e := range macs[0].MACs {
			if e.MAC == learner.MAC(h.mac) {
				found = true
				if e.Owner != want || !hasIP(e, h.ip4) || !hasIP(e, h.ip6) {
					t.Errorf("%s: %+v, want owner %s with %s and %s", e.MAC, e, want.Short(), h.ip4, h.ip6)
				}
			}
		}
		if !found {
			t.Errorf("%s is not learnt", h.mac)
		}
	}
}

func hasIP(e learner.Entry, ip netip.Addr) bool {
	for _, b := range e.IPs {
		if b.IP == ip {
			return true
		}
	}
	return false
}

// listen opens a TCP port in a host's container, and dial connects to it from another's.
func (h *host) listen(ip netip.Addr) (l net.Listener) {
	h.t.Helper()
	ok(h.t, netns.Do(h.container, func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
		return err
	}))
	h.t.Cleanup(func() { l.Close() })
	return l
}

func (h *host) dial(to net.Addr) (c net.Conn) {
	h.t.Helper()
	ok(h.t, netns.Do(h.container, func() (err error) {
		c, err = (&net.Dialer{Timeout: 5 * time.Second, FallbackDelay: -1}).Dial("tcp", to.String())
		return err
	}))
	h.t.Cleanup(func() { c.Close() })
	return c
}

// transfer sends n random bytes over TCP and returns the hashes at both ends.
func transfer(t *testing.T, from, to *host, ip netip.Addr, n int64) {
	t.Helper()
	l := to.listen(ip)
	received := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			received <- err.Error()
			return
		}
		defer c.Close()
		h := sha256.New()
		got, err := io.Copy(h, c)
		received <- summary(h, got, err)
	}()
	c := from.dial(l.Addr())
	h := sha256.New()
	block := make([]byte, 1<<20)
	_, _ = rand.Read(block)
	var sent int64
	var err error
	for sent < n && err == nil {
		block[sent>>20&0xfffff] ^= byte(sent >> 20)
		var k int
		k, err = c.Write(block[:min(n-sent, int64(len(block)))])
		h.Write(block[:k])
		sent += int64(k)
	}
	ok(t, c.Close())
	if a, b := summary(h, sent, err), <-received; a != b {
		t.Fatalf("sent %s, received %s", a, b)
	}
}

func summary(h hash.Hash, n int64, err error) string {
	return fmt.Sprintf("%d bytes, %x, %v", n, h.Sum(nil), err)
}

func TestTransferTravelsInBigFrames(t *testing.T) {
	hosts := newHosts(t, 2)
	transfer(t, hosts[0], hosts[1], hosts[1].ip4, 200<<20)
	transfer(t, hosts[0], hosts[1], hosts[1].ip6, 20<<20)
	out, in := hosts[0].dp.Stats(), hosts[1].dp.Stats()
	sent, received := out.Traffic[Out][l2bridge.Unicast], in.Traffic[In][l2bridge.Unicast]
	t.Logf("sender: %+v\nreceiver: %+v", out, in)
	if sent.Bytes < 220<<20 {
		t.Fatalf("only %d bytes were counted", sent.Bytes)
	}
	for why := range l2bridge.Whys {
		// Frames one by one are too fast for a library that hands over one by one: TCP takes care of it.
		slow := why == l2bridge.CaptureOverflow && !capturesOffload
		if n := out.Drops[why] + in.Drops[why]; n > 0 && !slow && why != l2bridge.LocalDestination && why != l2bridge.NoMembers {
			t.Errorf("%d frames dropped: %s", n, why)
		}
	}
	if !capturesOffload {
		return
	}
	if each := sent.Frames / out.Captures; each < 10 {
		t.Errorf("%d frames out of each that was captured: segmentation was not left to us", each)
	}
	if each := sent.Frames / out.Sends; each < 10 {
		t.Errorf("%d datagrams a send: UDP_SEGMENT did not work", each)
	}
	if each := received.Frames / in.Receives; each < 5 {
		t.Errorf("%d datagrams a receive: UDP_GRO did not work", each)
	}
	if each := received.Frames / in.Injections; each < 5 {
		t.Errorf("%d frames into each that was injected: they were not joined", each)
	}
}

var capturesOffload = capture.Backend == "afpacket"

// raw opens a packet socket on the container's interface.
func (h *host) raw() (p capture.Port) {
	h.t.Helper()
	ok(h.t, netns.Do(h.container, func() (err error) {
		p, err = capture.OpenAFPacket("eth0")
		return err
	}))
	h.t.Cleanup(func() { p.Close() })
	return p
}

// emit injects one frame at the container's interface, as its own.
func emit(t testing.TB, p capture.Port, frame []byte) {
	t.Helper()
	if _, err := p.Write([]l2bridge.Scattered{{Parts: [][]byte{frame}}}); err != nil {
		t.Fatal(err)
	}
}

// reading hands copies of what p reads, if want takes it, to a channel, until p is closed.
func reading(p capture.Port, want func(b []byte) bool) <-chan []byte {
	c := make(chan []byte, 4096)
	go func() {
		defer close(c)
		frames := make([]l2bridge.Frame, capture.MaxBatch)
		for {
			n, err := p.Read(frames)
			if err != nil {
				return
			}
			for i := range n {
				if b := frames[i].Data; want(b) {
					c <- append([]byte(nil), b...)
				}
			}
		}
	}()
	return c
}
