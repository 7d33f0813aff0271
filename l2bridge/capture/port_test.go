package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/safchain/ethtool"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
)

// ethernet makes a frame: broadcast, from a local address, these 16-bit words, then zeros up to length.
func ethernet(length int, words ...uint16) l2bridge.Frame {
	b := []byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1}
	for _, w := range words {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	return l2bridge.Frame{Data: append(b, make([]byte, max(0, length-len(b)))...)}
}

func TestFramesPassUnchanged(t *testing.T) {
	p := newPair(t)
	there, here := open(p, OpenAFPacket, "po"), open(p, Open, "ca")
	var sent []l2bridge.Frame
	for _, f := range []l2bridge.Frame{
		ethernet(60, 0x88b5), ethernet(20, 0x88b5), ethernet(testMTU+14, 0x0800), ethernet(60, 46),
		ethernet(64, 0x8100, 0x6123, 0x88b5), ethernet(64, 0x8100, 0xe000, 0x88b5), ethernet(testMTU+18, 0x8100, 5, 0x88b5),
		ethernet(64, 0x88a8, 0x0fff, 0x88b5), ethernet(68, 0x88a8, 0x2007, 0x8100, 0x4008, 0x86dd), ethernet(68, 0x8100, 1, 0x8100, 2, 0x88b5),
	} {
		for i := 40; i < len(f.Data); i++ {
			f.Data[i] = byte(i * len(f.Data))
		}
		write(t, there, f)
		sent = append(sent, f)
	}
	for i, got := range read(t, here, len(sent)) {
		if !bytes.Equal(got.Data, sent[i].Data) || got.Offload != (l2bridge.Offload{}) {
			t.Errorf("frame %d, metadata %+v:\n%x\nsent\n%x", i, got.Offload, got.Data[:min(60, len(got.Data))], sent[i].Data[:min(60, len(sent[i].Data))])
		}
	}
	// And the other way.
	for _, f := range sent {
		write(t, here, f)
	}
	for i, got := range read(t, there, len(sent)) {
		if !bytes.Equal(got.Data, sent[i].Data) {
			t.Errorf("injected frame %d:\n%x\nsent\n%x", i, got.Data[:min(60, len(got.Data))], sent[i].Data[:min(60, len(sent[i].Data))])
		}
	}
	// What was injected is not captured by whoever injected it.
	write(t, there, ethernet(60, 0x88b6))
	if got := read(t, here, 1)[0].Data; got[13] != 0xb6 {
		t.Errorf("own frame was captured: %x", got)
	}
}

func TestAFrameThatCannotBeInjectedKeepsNoOtherBack(t *testing.T) {
	p := newPair(t)
	there, here := open(p, OpenAFPacket, "po"), open(p, Open, "ca")
	var batch []l2bridge.Scattered
	for i := range 3 * MaxBatch {
		f := ethernet(60, 0x88b5, uint16(i))
		if i%10 == 3 {
			f = ethernet(testMTU+200, 0x88b5, uint16(i))
		}
		batch = append(batch, l2bridge.Scattered{Parts: [][]byte{f.Data}})
	}
	failed, err := here.Write(batch)
	if failed != 10 || err == nil {
		t.Fatalf("%d failed, want 10: %v", failed, err)
	}
	for i, n := 0, 0; i < len(batch); i++ {
		if i%10 == 3 {
			continue
		}
		if n++; n == 1 {
			for j, got := range read(t, there, len(batch)-10) {
				want := j + (j+6)/9
				if binary.BigEndian.Uint16(got.Data[14:]) != uint16(want) {
					t.Fatalf("frame %d is %x, want number %d", j, got.Data, want)
				}
			}
		}
	}
}

func TestCloseAndTheEndOfTheInterfaceWakeAReader(t *testing.T) {
	p := newPair(t)
	port := open(p, Open, "ca")
	errs := readOne(port)
	ok(t, port.Close())
	if err := ended(t, errs); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if failed, err := port.Write([]l2bridge.Scattered{{Parts: [][]byte{ethernet(60, 0x88b5).Data}}}); failed != 1 || err == nil {
		t.Errorf("a write after Close: %d failed, %v", failed, err)
	}
	other := open(p, Open, "ca")
	errs = readOne(other)
	ok(t, p.links.LinkDel(p.link("po")))
	if err := ended(t, errs); err == nil || errors.Is(err, os.ErrClosed) {
		t.Errorf("after the interface went: %v", err)
	}
	p.inside(func() error {
		if _, err := Open("ca"); err == nil || !strings.Contains(err.Error(), "ca") {
			return fmt.Errorf("an interface that is gone was opened: %w", err)
		}
		return nil
	})
}

func TestPrepareLeavesWhatACaptureCanCarry(t *testing.T) {
	p := newPair(t)
	features := func() (on map[string]bool) {
		p.inside(func() error {
			e, err := ethtool.NewEthtool()
			if err != nil {
				return err
			}
			defer e.Close()
			on, err = e.Features("po")
			return err
		})
		return on
	}
	p.inside(func() error { return Prepare("po", true) })
	p.inside(func() error { return Prepare("po", true) }) // again
	on := features()
	for name, want := range map[string]bool{
		"tx-checksum-ip-generic": true, "tx-tcp-segmentation": true, "tx-tcp6-segmentation": true, "tx-scatter-gather": true,
		"tx-udp-segmentation": false, "tx-checksum-sctp": false, "tx-udp_tnl-segmentation": false, "tx-gre-segmentation": false, "tx-sctp-segmentation": false,
	} {
		if got, known := on[name]; known && got != want {
			t.Errorf("%s is %v", name, got)
		}
	}
	p.inside(func() error { return Prepare("po", false) })
	on = features()
	for _, name := range []string{"tx-checksum-ip-generic", "tx-tcp-segmentation", "tx-tcp6-segmentation"} {
		if on[name] {
			t.Errorf("%s is on for a capture without vnet headers", name)
		}
	}
	p.inside(func() error {
		if err := Prepare("nothing", true); err == nil || !strings.Contains(err.Error(), "nothing") {
			return fmt.Errorf("an interface that is not there was prepared: %w", err)
		}
		return nil
	})
}

// TestDatagramsOfTheStack sends 10 datagrams in one UDP_SEGMENT call through the stack: each must arrive, with a checksum.
func TestDatagramsOfTheStack(t *testing.T) {
	p := newPair(t)
	here := open(p, Open, "ca")
	p.inside(func() error { return Prepare("po", here.Offloads()) })
	addr := &net.UDPAddr{IP: net.IPv4(10, 9, 0, 2), Port: 9}
	l := p.link("po")
	addIPv4(t, p, l, "10.9.0.1/24")
	neighbour(t, p, l, addr.IP)
	const size = 1000
	p.inside(func() error {
		c, err := net.DialUDP("udp4", nil, addr)
		if err != nil {
			return err
		}
		defer c.Close()
		raw, err := c.SyscallConn()
		if err != nil {
			return err
		}
		if e := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) }); e != nil || err != nil {
			return errors.Join(e, err)
		}
		_, err = c.Write(bytes.Repeat([]byte("weavewg "), 10*size/8))
		return err
	})
	for i, f := range read(t, here, 10) {
		if !l2bridge.CompleteChecksum(&f) || len(f.Data) != 14+20+8+size {
			t.Fatalf("datagram %d: %d bytes, %+v", i, len(f.Data), f.Offload)
		}
		udp := f.Data[34:]
		pseudo := append(append([]byte{}, f.Data[26:34]...), 0, 17, udp[4], udp[5])
		if got := plainSum(append(pseudo, udp...)); got != 0xffff {
			t.Errorf("datagram %d: checksum does not add up: %04x", i, got)
		}
	}
}

// plainSum is RFC 1071, one's complement sum of 16-bit words; right checksums make it ffff.
func plainSum(b []byte) uint16 {
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	var acc uint32
	for i := 0; i < len(b); i += 2 {
		acc += uint32(b[i])<<8 | uint32(b[i+1])
		acc = acc>>16 + acc&0xffff
	}
	return uint16(acc)
}
