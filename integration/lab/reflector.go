package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Reflector tells senders where it sees them, from two addresses with two ports each, like a STUN server with the
// other address of RFC 5780. It is what NAT boxes are measured with.
type Reflector struct {
	conns [4]net.PacketConn // the address's number times two, plus the port's
	tasks sync.WaitGroup
}

// A question is 9 bytes: 8 that the answer repeats, and from where to answer, as bits that are added to the number of
// the socket that was asked. The answer adds what it saw: an address and port as netip.AddrPort is marshalled.
const (
	fromHere        = 0
	fromOtherPort   = 1
	fromOtherSocket = 3 // another address and port

	questionSize = 9
)

// OpenReflector answers at two addresses of a host until it is closed.
func OpenReflector(ctx context.Context, at Place, addrs [2]netip.Addr, ports [2]uint16) (*Reflector, error) {
	r := &Reflector{}
	for i := range r.conns {
		err := at.Do(func() (err error) {
			r.conns[i], err = new(net.ListenConfig).ListenPacket(ctx, "udp", netip.AddrPortFrom(addrs[i/2], ports[i%2]).String())
			return err
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("reflector: %w", err), r.Close())
		}
	}
	for i := range r.conns {
		r.tasks.Go(func() { r.answer(i) })
	}
	return r, nil
}

// Addr is one of the reflector's four sockets: address 0 or 1, port 0 or 1.
func (r *Reflector) Addr(address, port int) netip.AddrPort {
	return r.conns[address*2+port].LocalAddr().(*net.UDPAddr).AddrPort()
}

// Close ends the reflector.
func (r *Reflector) Close() error {
	var errs []error
	for _, c := range r.conns {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	r.tasks.Wait()
	return errors.Join(errs...)
}

// answer serves one socket until it is closed.
func (r *Reflector) answer(number int) {
	buf := make([]byte, 2048)
	for {
		n, from, err := r.conns[number].ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n != questionSize || buf[8] > fromOtherSocket {
			continue // an ICMP error for an earlier answer, or not a question
		}
		seen, err := from.(*net.UDPAddr).AddrPort().MarshalBinary()
		if err != nil {
			continue
		}
		// An answer that cannot be sent is a lost one.
		_, _ = r.conns[number^int(buf[8])].WriteTo(append(buf[:n:n], seen...), from)
	}
}

// Ask asks one of the reflector's sockets where it sees the ear's, again every 200 ms until it answers.
func (r *Reflector) Ask(ctx context.Context, e *Ear, address, port int) (netip.AddrPort, error) {
	answers, err := r.ask(ctx, e, r.Addr(address, port), fromHere)
	return answers[fromHere], err
}

// ask asks for an answer from each of the given sockets. It ends when the last was given, and the others had the time.
func (r *Reflector) ask(ctx context.Context, e *Ear, to netip.AddrPort, from ...byte) (map[byte]netip.AddrPort, error) {
	question := binary.BigEndian.AppendUint64(nil, rand.Uint64())
	answers := make(map[byte]netip.AddrPort)
	sentinel := from[len(from)-1]
	for ctx.Err() == nil {
		for _, f := range from {
			if err := e.Send(to, append(question, f)); err != nil {
				return nil, fmt.Errorf("ask %s: %w", to, err)
			}
		}
		deadline := time.Now().Add(200 * time.Millisecond)
		for len(answers) < len(from) {
			content, err := e.next(deadline)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			var seen netip.AddrPort
			if bytes.HasPrefix(content, question) && len(content) > questionSize && seen.UnmarshalBinary(content[questionSize:]) == nil {
				answers[content[8]] = netip.AddrPortFrom(seen.Addr().Unmap(), seen.Port())
			}
		}
		if _, ok := answers[sentinel]; ok {
			return answers, nil
		}
	}
	return nil, fmt.Errorf("ask %s: no answer: %w", to, ctx.Err())
}

// next waits for a datagram until the deadline.
func (e *Ear) next(deadline time.Time) ([]byte, error) {
	if err := e.conn.SetReadDeadline(deadline); err != nil {
		return nil, err
	}
	buf := make([]byte, 2048)
	n, _, err := e.conn.ReadFrom(buf)
	return buf[:n], err
}
