package sim

import (
	"net/netip"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// wgPeer is a tunnel.
type wgPeer struct {
	dev       *wireguard
	key       wgtypes.Key
	psk       wgtypes.Key
	endpoint  netip.AddrPort
	allowed   []netip.Prefix
	keepalive time.Duration

	lastHandshake time.Time
	rx, tx        uint64
	previous      *wgSession
	current       *wgSession
	next          *wgSession // made by answering, until the first packet proves that the other end has it
	staged        []packet

	// The handshake under way.
	initiated      uint64    // our index in the last initiation; 0 when it is answered or void
	sentInit       time.Time // of the last initiation or response
	attempts       int
	stamp          time.Time // of the newest initiation of the peer
	answered       time.Time
	lastMinute     bool
	needKeepalive  bool
	retry, passive timer
	silent, zero   timer
	persistent     timer
}

// complete books a handshake that both ends know of.
func (p *wgPeer) complete() {
	p.retry.stop()
	p.attempts, p.lastMinute = 0, false
	p.lastHandshake = p.dev.clock.now
}

// traversed is called for every authenticated packet in either direction.
func (p *wgPeer) traversed() {
	if p.keepalive > 0 {
		p.persistent.in(p.keepalive)
	}
}

func (p *wgPeer) jitter() time.Duration { return time.Duration(p.dev.rng.Int64N(int64(rekeyJitter))) }

// initiate begins a handshake, unless the last one was begun or answered just now.
func (p *wgPeer) initiate() {
	p.attempts = 0
	p.initiateAgain()
}

func (p *wgPeer) initiateAgain() {
	now := p.dev.clock.now
	if !p.sentInit.IsZero() && now.Sub(p.sentInit) < rekeyTimeout {
		return
	}
	p.sentInit = now
	*p.dev.indices++
	p.initiated = *p.dev.indices
	p.traversed()
	p.passive.stop()
	p.emit(datagram{initiation: &initiation{receiver: p.key, sender: p.dev.public, index: p.initiated, stamp: now}}, initiationSize)
	p.retry.in(rekeyTimeout + p.jitter())
}

// emit sends to where the peer was heard last; without an endpoint the datagram is lost.
func (p *wgPeer) emit(d datagram, size uint64) {
	if p.endpoint.IsValid() {
		p.tx += size
		p.dev.send(p.endpoint, d)
	}
}

// stage queues a packet and sends what can be sent.
func (p *wgPeer) stage(pkt packet) {
	if len(p.staged) == maxStaged {
		p.staged = p.staged[1:]
	}
	p.staged = append(p.staged, pkt)
	p.flush()
}

// flush sends the queue over the current session, or begins a handshake if there is none that may be used.
func (p *wgPeer) flush() {
	if len(p.staged) == 0 {
		return
	}
	s := p.current
	if s == nil || p.dev.clock.now.Sub(s.created) >= rejectAfter {
		p.initiate()
		return
	}
	data := false
	for _, pkt := range p.staged {
		data = data || pkt.payload != nil
		p.traversed()
		p.passive.stop()
		p.emit(datagram{transport: &transport{receiver: s.remote, secret: s.secret, packet: pkt}}, transportSize+pkt.size)
	}
	p.staged = nil
	if data && !p.silent.on() {
		p.silent.in(keepaliveTimeout + rekeyTimeout + p.jitter())
	}
	if s.initiator && p.dev.clock.now.Sub(s.created) > rekeyAfter {
		p.initiate()
	}
}

func (p *wgPeer) sendKeepalive() {
	if len(p.staged) == 0 {
		p.staged = append(p.staged, packet{})
	}
	p.flush()
}

func (p *wgPeer) expiredRetry() {
	if p.attempts > maxAttempts {
		p.passive.stop()
		p.staged = nil
		if !p.zero.on() {
			p.zero.in(3 * rejectAfter)
		}
		return
	}
	p.attempts++
	p.initiateAgain()
}

func (p *wgPeer) expiredPassive() {
	p.sendKeepalive()
	if p.needKeepalive {
		p.needKeepalive = false
		p.passive.in(keepaliveTimeout)
	}
}

func (p *wgPeer) forgetSessions() {
	for _, s := range []*wgSession{p.previous, p.current, p.next} {
		p.dev.forget(s)
	}
	p.previous, p.current, p.next, p.staged, p.initiated = nil, nil, nil, nil, 0
}
