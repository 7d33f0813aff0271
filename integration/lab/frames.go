package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"
)

// FrameSpec names a stream of random frames: both ends compute the same frames from it, so that the receiver knows
// what each should look like, byte for byte.
type FrameSpec struct {
	From, To  net.HardwareAddr
	Seed      uint64
	Count     uint64
	MTU       int // the longest payload of a frame, without its 14 bytes of header (and 4 of VLAN tag)
	PerSecond int // pace of the sender
}

// etherTypeTest is the first of the local experimental EtherTypes (IEEE 802).
const etherTypeTest = 0x88b5

// frameMagic marks the frames of a stream; number and seed follow it.
var frameMagic = []byte("weavewg-frame\x00\x01\x02")

// stampLen is the magic, the number, the seed.
var stampLen = len(frameMagic) + 16

// Frame returns frame number n: of a random kind (experimental EtherType, IEEE 802.3 length field, VLAN-tagged, IPv4
// with UDP, IPv6 with UDP), a random length from 60 bytes to the MTU, and random content.
func (s FrameSpec) Frame(n uint64) []byte {
	rnd := rand.New(rand.NewPCG(s.Seed, n))
	head := make([]byte, 0, s.MTU+18)
	head = append(append(head, s.To...), s.From...)
	var inner int // bytes of IP and UDP headers before the stamp
	kind := rnd.IntN(5)
	switch kind {
	case 2:
		head = append(head, 0x81, 0x00)
		head = binary.BigEndian.AppendUint16(head, uint16(1+rnd.IntN(4094)))
	case 3:
		inner = 20 + 8
	case 4:
		inner = 40 + 8
	}
	least := max(46, inner+stampLen)
	size := least + rnd.IntN(s.MTU-least+1)
	body := make([]byte, size)
	for i := 0; i+8 <= size; i += 8 {
		binary.LittleEndian.PutUint64(body[i:], rnd.Uint64())
	}
	stamp := body[inner:]
	copy(stamp, frameMagic)
	binary.BigEndian.PutUint64(stamp[len(frameMagic):], n)
	binary.BigEndian.PutUint64(stamp[len(frameMagic)+8:], s.Seed)
	switch kind {
	case 0, 2:
		head = binary.BigEndian.AppendUint16(head, etherTypeTest)
	case 1:
		// The field is the length only up to 1500 (IEEE 802.3, 3.2.6).
		head = binary.BigEndian.AppendUint16(head, uint16(min(size, 1500)))
	case 3:
		head = append(head, 0x08, 0x00)
		putUDP4(body, rnd.Uint32())
	case 4:
		head = append(head, 0x86, 0xdd)
		putUDP6(body, rnd.Uint32())
	}
	return append(head, body...)
}

// putUDP4 writes IPv4 and UDP headers with right checksums, between addresses that nobody has (RFC 5737).
func putUDP4(b []byte, salt uint32) {
	copy(b, []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, byte(salt), 198, 51, 100, byte(salt >> 8)})
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[10:], ^sum16(b[:20], 0))
	udp := b[20:]
	putUDP(udp, salt, uint32(sum16(b[12:20], 0)))
}

// putUDP6 writes IPv6 and UDP headers with a right checksum, between addresses for documentation (RFC 3849).
func putUDP6(b []byte, salt uint32) {
	clear(b[:40])
	b[0], b[6], b[7] = 0x60, 17, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
	copy(b[8:], []byte{0x20, 0x01, 0x0d, 0xb8})
	copy(b[24:], []byte{0x20, 0x01, 0x0d, 0xb8})
	b[23], b[39] = byte(salt), byte(salt>>8)
	putUDP(b[40:], salt, uint32(sum16(b[8:40], 0)))
}

func putUDP(udp []byte, salt, pseudo uint32) {
	binary.BigEndian.PutUint16(udp, uint16(salt>>16)|0x8000)
	binary.BigEndian.PutUint16(udp[2:], 9) // discard
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	udp[6], udp[7] = 0, 0
	c := ^sum16(udp, pseudo+17+uint32(len(udp)))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], c)
}

// sum16 is the ones' complement sum of RFC 1071.
func sum16(b []byte, sum uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// catchUp is how far behind its pace a sender makes up for: more, and it would send bursts that nobody asked for.
const catchUp = 10 * time.Millisecond

// SendFrames sends a stream at its pace.
func SendFrames(ctx context.Context, tap *Tap, s FrameSpec) error {
	due := time.Now()
	for n := range s.Count {
		if wait := time.Until(due); wait > time.Millisecond {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(wait):
			}
		} else if wait < -catchUp {
			due = time.Now().Add(-catchUp)
		}
		if err := tap.Send(s.Frame(n)); err != nil {
			return fmt.Errorf("frame %d: %w", n, err)
		}
		due = due.Add(time.Second / time.Duration(max(s.PerSecond, 1)))
	}
	return ctx.Err()
}

// FrameReport is what became of a stream.
type FrameReport struct {
	Sent       uint64 `json:"sent"`
	Received   uint64 `json:"received"` // each once, and unchanged
	Duplicates uint64 `json:"duplicates"`
	Changed    uint64 `json:"changed"`
	First      string `json:"first,omitempty"` // what was wrong with the first that was changed
	// Missing describes some of the frames of which nothing arrived, spread over all of them.
	Missing []string `json:"missing,omitempty"`
}

// Lost counts the frames of which nothing arrived.
func (r FrameReport) Lost() uint64 { return r.Sent - min(r.Sent, r.Received) }

// Perfect says that every frame arrived once and as it was sent.
func (r FrameReport) Perfect() bool { return r.Lost() == 0 && r.Duplicates == 0 && r.Changed == 0 }

// String is one line for people.
func (r FrameReport) String() string {
	s := fmt.Sprintf("%d sent, %d received, %d lost, %d twice, %d changed", r.Sent, r.Received, r.Lost(), r.Duplicates, r.Changed)
	if r.First != "" {
		s += ": " + r.First
	}
	if len(r.Missing) > 0 {
		s += "\nmissing among others " + strings.Join(r.Missing, "\n")
	}
	return s
}

// ReceiveFrames takes a stream until all of it has arrived and nothing more came for a while, or until nothing came for
// ten whiles.
func ReceiveFrames(ctx context.Context, tap *Tap, s FrameSpec, while time.Duration) (report FrameReport, err error) {
	c := frameCheck{report: FrameReport{Sent: s.Count}}
	defer func() { report.Missing = c.missing(s) }()
	last := time.Now()
	for {
		if err := ctx.Err(); err != nil {
			return c.report, err
		}
		patience := 10 * while
		if c.report.Received == s.Count {
			patience = while
		}
		if time.Since(last) > patience {
			return c.report, nil
		}
		f, err := tap.Receive(time.Now().Add(while))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return c.report, err
		}
		if c.take(s, f.Data) {
			last = f.At
		}
	}
}

// frameCheck compares frames with what they should be.
type frameCheck struct {
	report FrameReport
	seen   []uint64 // bit set of the numbers
}

// take says whether the frame belongs to the stream.
func (c *frameCheck) take(s FrameSpec, frame []byte) bool {
	at := bytes.Index(frame, frameMagic)
	if at < 0 || len(frame) < at+stampLen {
		return false
	}
	n := binary.BigEndian.Uint64(frame[at+len(frameMagic):])
	seed := binary.BigEndian.Uint64(frame[at+len(frameMagic)+8:])
	if seed != s.Seed || n >= s.Count {
		return false
	}
	if want := s.Frame(n); !bytes.Equal(frame, want) {
		c.report.Changed++
		if c.report.First == "" {
			c.report.First = difference(n, want, frame)
		}
		return true
	}
	for uint64(len(c.seen)) <= n/64 {
		c.seen = append(c.seen, make([]uint64, 1024)...)
	}
	if c.seen[n/64]&(1<<(n%64)) != 0 {
		c.report.Duplicates++
		return true
	}
	c.seen[n/64] |= 1 << (n % 64)
	c.report.Received++
	return true
}

// missing describes up to 20 frames that were not seen.
func (c *frameCheck) missing(s FrameSpec) (some []string) {
	lost := c.report.Lost()
	step := max(lost/20, 1)
	at := uint64(0)
	for n := range s.Count {
		if n/64 < uint64(len(c.seen)) && c.seen[n/64]&(1<<(n%64)) != 0 {
			continue
		}
		if at%step == 0 && len(some) < 20 {
			f := s.Frame(n)
			some = append(some, fmt.Sprintf("frame %d: %d bytes, header % x", n, len(f), f[:18]))
		}
		at++
	}
	return some
}

func difference(n uint64, want, got []byte) string {
	at := 0
	for at < min(len(want), len(got)) && want[at] == got[at] {
		at++
	}
	return fmt.Sprintf("frame %d of %d bytes came with %d, first difference at byte %d; header % x became % x",
		n, len(want), len(got), at, want[:18], got[:min(18, len(got))])
}
