package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// PingSpec says how to ping: ICMP echo requests at a fixed pace, whether or not answers come.
type PingSpec struct {
	To      netip.Addr    // with a zone for a link-local address
	Count   int           // 0: until the context ends
	Every   time.Duration // 0: 100 ms
	Timeout time.Duration // how long to wait for answers after the last request; 0: 1 s
	Size    int           // payload bytes, at least 16
	Stop    int           // stop after so many answers; 0: never
}

// PingReport is what became of the requests.
type PingReport struct {
	Requests   []Echo        `json:"requests"`
	Duplicates int           `json:"duplicates"`
	Every      time.Duration `json:"every"`
}

// Echo is one request.
type Echo struct {
	At  time.Time     `json:"at"`  // when it was sent
	RTT time.Duration `json:"rtt"` // 0: no answer
}

// Sent counts the requests.
func (r PingReport) Sent() int { return len(r.Requests) }

// Lost counts the requests without an answer.
func (r PingReport) Lost() int {
	n := 0
	for _, e := range r.Requests {
		if e.RTT == 0 {
			n++
		}
	}
	return n
}

// LostBetween counts the requests without an answer that were sent after from, and before to unless that is zero.
func (r PingReport) LostBetween(from, to time.Time) int {
	n := 0
	for _, e := range r.Requests {
		if e.RTT == 0 && e.At.After(from) && (to.IsZero() || e.At.Before(to)) {
			n++
		}
	}
	return n
}

// LongestGap is the longest time between two requests that were answered, with none between them that was; without
// loss that is the pace. A gap that nothing ended lasts until the last request.
func (r PingReport) LongestGap() time.Duration { return r.LongestGapAfter(time.Time{}) }

// LongestGapAfter looks at what was sent after a time only.
func (r PingReport) LongestGapAfter(t time.Time) time.Duration {
	var longest time.Duration
	last := t
	for i, e := range r.Requests {
		if e.At.Before(t) {
			continue
		}
		if last.IsZero() {
			last = e.At
		}
		if e.RTT > 0 || i == len(r.Requests)-1 {
			longest = max(longest, e.At.Sub(last))
			last = e.At
		}
	}
	return longest
}

// FirstAnswerAfter returns how long after t the first answered request was answered; ok is false if none was.
func (r PingReport) FirstAnswerAfter(t time.Time) (after time.Duration, ok bool) {
	for _, e := range r.Requests {
		if e.RTT > 0 && e.At.After(t) {
			return e.At.Add(e.RTT).Sub(t), true
		}
	}
	return 0, false
}

// MedianRTT is 0 if nothing was answered.
func (r PingReport) MedianRTT() time.Duration {
	var all []time.Duration
	for _, e := range r.Requests {
		if e.RTT > 0 {
			all = append(all, e.RTT)
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// String is one line for people.
func (r PingReport) String() string {
	return fmt.Sprintf("%d sent, %d lost, %d twice, median %.2f ms, longest gap %d ms", r.Sent(), r.Lost(), r.Duplicates,
		float64(r.MedianRTT())/1e6, r.LongestGap().Milliseconds())
}

// Ping sends echo requests from a namespace and reports. The error says that it could not; requests that were not
// answered, or that the kernel had no route for, are in the report.
func Ping(ctx context.Context, at Place, spec PingSpec) (PingReport, error) {
	if spec.Every <= 0 {
		spec.Every = 100 * time.Millisecond
	}
	if spec.Timeout <= 0 {
		spec.Timeout = time.Second
	}
	p := &pinger{spec: spec, id: uint16(rand.Uint32()), proto: 1, request: ipv4.ICMPTypeEcho, reply: ipv4.ICMPTypeEchoReply}
	network, local := "ip4:icmp", "0.0.0.0"
	if spec.To.Is6() {
		network, local = "ip6:ipv6-icmp", "::"
		p.proto, p.request, p.reply = 58, ipv6.ICMPTypeEchoRequest, ipv6.ICMPTypeEchoReply
	}
	err := at.Do(func() (err error) {
		p.conn, err = icmp.ListenPacket(network, local)
		return err
	})
	if err != nil {
		return PingReport{}, fmt.Errorf("ping %s: %w", spec.To, err)
	}
	defer p.conn.Close()
	if err := p.run(ctx); err != nil {
		return p.report, fmt.Errorf("ping %s: %w", spec.To, err)
	}
	return p.report, nil
}

type pinger struct {
	spec           PingSpec
	id             uint16
	proto          int
	request, reply icmp.Type
	conn           *icmp.PacketConn
	report         PingReport
	answered       int
}

// run sends on time and reads between: one goroutine is enough, as reading waits only until the next request.
func (p *pinger) run(ctx context.Context) error {
	p.report.Every = p.spec.Every
	next := time.Now()
	for (p.spec.Count == 0 || p.report.Sent() < p.spec.Count) && ctx.Err() == nil && !p.satisfied() {
		if err := p.send(); err != nil {
			return err
		}
		next = next.Add(p.spec.Every)
		if err := p.readUntil(ctx, next, p.satisfied); err != nil {
			return err
		}
	}
	return p.readUntil(context.WithoutCancel(ctx), time.Now().Add(p.spec.Timeout), func() bool {
		return p.satisfied() || p.answered == p.report.Sent()
	})
}

func (p *pinger) satisfied() bool { return p.spec.Stop > 0 && p.answered >= p.spec.Stop }

func (p *pinger) send() error {
	seq := p.report.Sent()
	data := make([]byte, max(p.spec.Size, 16))
	binary.BigEndian.PutUint64(data, uint64(seq))
	binary.BigEndian.PutUint64(data[8:], uint64(p.id)<<32|0xec40)
	b, err := (&icmp.Message{Type: p.request, Body: &icmp.Echo{ID: int(p.id), Seq: seq & 0xffff, Data: data}}).Marshal(nil)
	if err != nil {
		return err
	}
	p.report.Requests = append(p.report.Requests, Echo{At: time.Now()})
	// "No route", "host unreachable" and full queues are losses.
	_, _ = p.conn.WriteTo(b, &net.IPAddr{IP: p.spec.To.AsSlice(), Zone: p.spec.To.Zone()})
	return nil
}

// readUntil takes answers until the deadline, or until done says so.
func (p *pinger) readUntil(ctx context.Context, deadline time.Time, done func() bool) error {
	buf := make([]byte, 65536)
	for !done() && ctx.Err() == nil {
		wait := time.Until(deadline)
		if wait <= 0 {
			return nil
		}
		// Short waits, so that a cancelled context is noticed.
		if err := p.conn.SetReadDeadline(time.Now().Add(min(wait, 50*time.Millisecond))); err != nil {
			return err
		}
		n, _, err := p.conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		if err != nil {
			return err
		}
		p.take(buf[:n], time.Now())
	}
	return nil
}

func (p *pinger) take(b []byte, now time.Time) {
	m, err := icmp.ParseMessage(p.proto, b)
	if err != nil || m.Type != p.reply {
		return
	}
	echo, ok := m.Body.(*icmp.Echo)
	if !ok || echo.ID != int(p.id) || len(echo.Data) < 16 ||
		binary.BigEndian.Uint64(echo.Data[8:]) != uint64(p.id)<<32|0xec40 {
		return
	}
	seq := binary.BigEndian.Uint64(echo.Data)
	if seq >= uint64(len(p.report.Requests)) {
		return
	}
	e := &p.report.Requests[seq]
	if e.RTT != 0 {
		p.report.Duplicates++
		return
	}
	e.RTT = max(now.Sub(e.At), 1)
	p.answered++
}
