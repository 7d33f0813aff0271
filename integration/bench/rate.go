package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/ipv4"
)

// smallPacket is the UDP payload of the packet rate, in bytes.
const smallPacket = 64

// lossLimit is the share of packets below whose loss a rate counts as carried.
const lossLimit = 0.05

// measureRate finds the largest paced rate, in packets a second, at which less than 5 % is lost. It starts at a
// guess, widens by doubling or halving, and narrows to 6 %. Each rate is tried twice before it counts as too high: a
// shared machine has bad moments.
func measureRate(ctx context.Context, r Route, guess int, length time.Duration) (int, error) {
	return highest(guess, func(rate int) (bool, error) {
		for range 2 {
			lost, err := paced(ctx, r, rate, length)
			if err != nil || lost < lossLimit {
				return err == nil, err
			}
		}
		return false, nil
	})
}

const (
	lowestRate  = 250
	highestRate = 4_000_000
)

// highest bisects for the largest rate that passes; 0 if even the lowest does not.
func highest(guess int, passes func(rate int) (bool, error)) (int, error) {
	low, high := 0, 0 // passes, fails; 0: not known
	for rate := max(guess, lowestRate); low == 0 || high == 0; {
		ok, err := passes(rate)
		if err != nil {
			return 0, err
		}
		if ok {
			low = rate
			rate *= 2
		} else {
			high = rate
			rate /= 2
		}
		if rate < lowestRate || rate > highestRate {
			return low, nil
		}
	}
	for float64(high) > float64(low)*1.06 {
		middle := (low + high) / 2
		ok, err := passes(middle)
		if err != nil {
			return 0, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}

// paced sends small packets at an even rate and returns the share of the intended ones that did not arrive: a sender
// that is starved by what it measures counts as loss.
func paced(ctx context.Context, r Route, rate int, length time.Duration) (lost float64, err error) {
	to, err := listen(ctx, r.To.Do, netip.AddrPortFrom(r.Addr, 0))
	if err != nil {
		return 0, err
	}
	defer to.Close()
	if err := to.SetReadBuffer(8 << 20); err != nil {
		return 0, err
	}
	from, err := listen(ctx, r.From.Do, netip.AddrPort{})
	if err != nil {
		return 0, err
	}
	defer from.Close()

	mark := rand.Uint64()
	counted := make(chan int, 1)
	done := make(chan struct{})
	go func() { counted <- count(to, mark, done) }() // ends 200 ms after done, or when to is closed
	wanted := int(float64(rate) * length.Seconds())
	err = sendPaced(ctx, from, to.LocalAddr().(*net.UDPAddr), mark, rate, wanted)
	close(done)
	got := <-counted
	if err != nil {
		return 0, err
	}
	return 1 - float64(got)/float64(wanted), nil
}

func listen(ctx context.Context, do func(func() error) error, addr netip.AddrPort) (conn *net.UDPConn, err error) {
	bind := ":0"
	if addr.IsValid() {
		bind = addr.String()
	}
	err = do(func() error {
		packets, err := new(net.ListenConfig).ListenPacket(ctx, "udp4", bind)
		if err == nil {
			conn = packets.(*net.UDPConn)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("packet rate: %w", err)
	}
	return conn, nil
}

// sendPaced sends what is due every millisecond, at most wanted packets, and stops when the time for them has passed.
func sendPaced(ctx context.Context, conn *net.UDPConn, to *net.UDPAddr, mark uint64, rate, wanted int) error {
	payload := make([]byte, smallPacket)
	binary.BigEndian.PutUint64(payload, mark)
	batch := make([]ipv4.Message, 64)
	for i := range batch {
		batch[i] = ipv4.Message{Buffers: [][]byte{payload}, Addr: to}
	}
	out := ipv4.NewPacketConn(conn)
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	start := time.Now()
	end := start.Add(time.Duration(float64(wanted) / float64(rate) * float64(time.Second)))
	for sent := 0; sent < wanted && ctx.Err() == nil; {
		now := time.Now()
		due := min(int(now.Sub(start).Seconds()*float64(rate))+1, wanted)
		if now.After(end) {
			due = min(due, sent+len(batch)) // what the last tick was late for, no more
		}
		for sent < due {
			n, err := out.WriteBatch(batch[:min(len(batch), due-sent)], 0)
			if err != nil {
				return fmt.Errorf("packet rate: %w", err)
			}
			sent += n
		}
		if now.After(end) {
			return nil
		}
		<-pace.C
	}
	return ctx.Err()
}

// count reads until done is closed and nothing came for 200 ms, and counts the packets with the mark.
func count(conn *net.UDPConn, mark uint64, done <-chan struct{}) int {
	in := ipv4.NewPacketConn(conn)
	batch := make([]ipv4.Message, 64)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, 2*smallPacket)}
	}
	got := 0
	for {
		if conn.SetReadDeadline(time.Now().Add(200*time.Millisecond)) != nil {
			return got
		}
		n, err := in.ReadBatch(batch, 0)
		for _, message := range batch[:max(n, 0)] {
			if message.N == smallPacket && binary.BigEndian.Uint64(message.Buffers[0]) == mark {
				got++
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			select {
			case <-done:
				return got
			default:
				continue
			}
		}
		if err != nil {
			return got
		}
	}
}
