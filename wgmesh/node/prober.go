package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"

	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh"
)

// prober sends ICMPv6 echo requests (RFC 4443) between overlay addresses, through the tunnels: the peer's kernel answers,
// so what they measure is the data plane and not the peer's daemon.
type prober struct {
	conn *icmp.PacketConn
	id   uint16
	post func(wgmesh.Event)

	mu      sync.Mutex
	members []wgmesh.Member
	seq     uint16
	waiting map[uint16]*probe
}

type probe struct {
	peer   topology.NodeID
	to     netip.Addr
	sent   time.Time
	answer chan time.Duration // of a ping that somebody waits for; else nil
}

// newProber opens the socket inside the overlay namespace.
func newProber(ns *os.File, own netip.Addr, post func(wgmesh.Event)) (*prober, error) {
	p := &prober{post: post, id: uint16(os.Getpid()), waiting: map[uint16]*probe{}}
	err := netns.Do(ns, func() (err error) {
		p.conn, err = icmp.ListenPacket("ip6:ipv6-icmp", own.String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open the probe socket at %s: %w", own, err)
	}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeEchoReply)
	if err := p.conn.IPv6PacketConn().SetICMPFilter(&filter); err != nil {
		p.conn.Close()
		return nil, fmt.Errorf("filter of the probe socket: %w", err)
	}
	return p, nil
}

// watch replaces the set of links that are probed.
func (p *prober) watch(members []wgmesh.Member) {
	p.mu.Lock()
	p.members = members
	p.mu.Unlock()
}

// run sends until ctx ends; the links take turns, so that probes do not come in bursts.
func (p *prober) run(ctx context.Context) error {
	const slice = wgmesh.ProbeEvery / 8
	ticker := time.NewTicker(slice)
	defer ticker.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-ctx.Done():
			return nil
		case now := <-ticker.C:
			p.expire(now)
			p.mu.Lock()
			members := p.members
			p.mu.Unlock()
			for i := turn % 8; i < len(members); i += 8 {
				_ = p.send(members[i], nil) // what could not be sent is lost, and counted so by expire
			}
		}
	}
}

func (p *prober) send(m wgmesh.Member, answer chan time.Duration) error {
	p.mu.Lock()
	p.seq++
	seq := p.seq
	p.waiting[seq] = &probe{peer: m.ID, to: m.Address, sent: time.Now(), answer: answer}
	p.mu.Unlock()
	msg := icmp.Message{Type: ipv6.ICMPTypeEchoRequest, Body: &icmp.Echo{ID: int(p.id), Seq: int(seq), Data: make([]byte, 8)}}
	raw, err := msg.Marshal(nil) // the kernel fills in the checksum
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	_, err = p.conn.WriteTo(raw, &net.IPAddr{IP: m.Address.AsSlice()})
	return err
}

// ping sends one probe and waits for its answer; ok is false when it was lost.
func (p *prober) ping(ctx context.Context, m wgmesh.Member) (rtt time.Duration, ok bool) {
	answer := make(chan time.Duration, 1)
	_ = p.send(m, answer)
	timeout := time.NewTimer(wgmesh.ProbeTimeout)
	defer timeout.Stop()
	select {
	case rtt := <-answer:
		return rtt, true
	case <-timeout.C:
	case <-ctx.Done():
	}
	return 0, false
}

// expire counts as lost what was not answered in time.
func (p *prober) expire(now time.Time) {
	var lost []wgmesh.Probed
	p.mu.Lock()
	for seq, w := range p.waiting {
		if now.Sub(w.sent) > wgmesh.ProbeTimeout {
			delete(p.waiting, seq)
			if w.answer == nil {
				lost = append(lost, wgmesh.Probed{Peer: w.peer, Seq: seq})
			}
		}
	}
	p.mu.Unlock()
	for _, l := range lost {
		p.post(l)
	}
}

// receive takes answers until the socket is closed.
func (p *prober) receive() error {
	buf := make([]byte, 2048)
	for {
		n, from, err := p.conn.ReadFrom(buf)
		if err != nil {
			return nil //nolint:nilerr // closed: run has ended
		}
		at := time.Now()
		addr, ok := from.(*net.IPAddr)
		if !ok || n < 8 || binary.BigEndian.Uint16(buf[4:]) != p.id {
			continue
		}
		source, _ := netip.AddrFromSlice(addr.IP)
		p.answered(binary.BigEndian.Uint16(buf[6:]), source, at)
	}
}

func (p *prober) answered(seq uint16, from netip.Addr, at time.Time) {
	p.mu.Lock()
	w := p.waiting[seq]
	if w == nil || w.to != from {
		p.mu.Unlock()
		return
	}
	delete(p.waiting, seq)
	p.mu.Unlock()
	rtt := max(at.Sub(w.sent), time.Microsecond)
	if w.answer != nil {
		w.answer <- rtt
		return
	}
	p.post(wgmesh.Probed{Peer: w.peer, Seq: seq, RTT: rtt})
}

func (p *prober) close() { p.conn.Close() }
