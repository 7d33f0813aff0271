package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
)

// pinger sends one echo request at a time over a route and keeps its socket, so that pings of several routes can
// alternate.
type pinger struct {
	conn *icmp.PacketConn
	to   *net.IPAddr
	id   int
	seq  int
	buf  []byte
}

func newPinger(r Route) (*pinger, error) {
	p := &pinger{to: &net.IPAddr{IP: r.Addr.AsSlice()}, id: os.Getpid() & 0xffff, buf: make([]byte, 1500)}
	err := r.From.Do(func() (err error) {
		p.conn, err = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ping %s: %w", r.Addr, err)
	}
	return p, nil
}

func (p *pinger) Close() error { return p.conn.Close() }

// errNoAnswer says that a request was not answered in time.
var errNoAnswer = errors.New("no answer")

// ping returns the round trip's time, or errNoAnswer after a second.
func (p *pinger) ping() (time.Duration, error) {
	p.seq = (p.seq + 1) & 0xffff
	request := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: p.id, Seq: p.seq, Data: make([]byte, 56)}}
	data, err := request.Marshal(nil)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := p.conn.SetReadDeadline(start.Add(time.Second)); err != nil {
		return 0, err
	}
	if _, err := p.conn.WriteTo(data, p.to); err != nil {
		return 0, err
	}
	for {
		n, _, err := p.conn.ReadFrom(p.buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, errNoAnswer
		}
		if err != nil {
			return 0, err
		}
		took := time.Since(start)
		answer, err := icmp.ParseMessage(1, p.buf[:n]) // 1: ICMP for IPv4
		if err != nil {
			continue // not for us
		}
		if echo, ok := answer.Body.(*icmp.Echo); ok && answer.Type == ipv4.ICMPTypeEchoReply && echo.ID == p.id && echo.Seq == p.seq {
			return took, nil
		}
	}
}

// Latency is what a route's pings gave.
type Latency struct {
	Count  int     `json:"count"`
	Lost   int     `json:"lost"`
	Median float64 `json:"median_ms"`
	P99    float64 `json:"p99_ms"`
}

// measurePings pings each route in turn, count times in all, a few milliseconds apart: a burst of pings would keep the
// machine awake and flatter everybody.
func measurePings(ctx context.Context, routes []Route, count int) ([]Latency, error) {
	all := make([]Latency, len(routes))
	times := make([][]float64, len(routes))
	pingers := make([]*pinger, len(routes))
	for i, route := range routes {
		p, err := newPinger(route)
		if err != nil {
			return nil, err
		}
		defer p.Close()
		pingers[i] = p
	}
	pace := time.NewTicker(2 * time.Millisecond)
	defer pace.Stop()
	for range count {
		for i, p := range pingers {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-pace.C:
			}
			took, err := p.ping()
			all[i].Count++
			switch {
			case errors.Is(err, errNoAnswer):
				all[i].Lost++
			case err != nil:
				return nil, err
			default:
				times[i] = append(times[i], float64(took)/1e6)
			}
		}
	}
	for i := range all {
		all[i].Median, all[i].P99 = quantile(times[i], 0.5), quantile(times[i], 0.99)
	}
	return all, nil
}
