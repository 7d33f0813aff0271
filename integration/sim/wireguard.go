package sim

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// The constants of the WireGuard protocol (whitepaper, section 6.1; wireguard-go, device/constants.go).
const (
	rekeyAfter       = 120 * time.Second
	rejectAfter      = 180 * time.Second
	rekeyTimeout     = 5 * time.Second
	rekeyJitter      = 334 * time.Millisecond
	keepaliveTimeout = 10 * time.Second
	maxAttempts      = 18                    // 90 s of retries
	floodGap         = 20 * time.Millisecond // between two initiations of one peer that are answered
	maxStaged        = 128                   // packets that wait for a handshake
)

// wireguard models one WireGuard device as it looks from outside: who may shake hands with whom, which packets come
// through, where answers go, and when the timers act. The cryptography is replaced by comparing what it compares.
// TestWireGuardModel holds it against wireguard-go.
type wireguard struct {
	clock   *clock
	rng     *rand.Rand
	indices *uint64 // the source of session indices, shared by all devices
	private wgtypes.Key
	public  wgtypes.Key
	up      bool

	send    func(to netip.AddrPort, d datagram)                     // puts a datagram on the underlay
	deliver func(from *wgPeer, source, dst netip.Addr, payload any) // hands a packet out
	frozen  func() time.Time                                        // until when the host runs nothing; zero: it runs

	peers    map[wgtypes.Key]*wgPeer
	owner    map[netip.Prefix]*wgPeer // of the allowed prefixes
	sessions map[uint64]*wgSession    // by our index
}

// wgSession is a pair of keys as one end has it.
type wgSession struct {
	peer      *wgPeer
	index     uint64 // ours
	remote    uint64 // theirs
	secret    [2]uint64
	initiator bool
	created   time.Time
}

// packet is what goes into a tunnel; a keepalive has no payload.
type packet struct {
	source, dst netip.Addr
	size        uint64
	payload     any
}

// datagram is what devices exchange: exactly one of the fields is set.
type datagram struct {
	initiation *initiation
	response   *response
	transport  *transport
}

type initiation struct {
	receiver, sender wgtypes.Key
	index            uint64
	stamp            time.Time
}

type response struct {
	sender   wgtypes.Key
	psk      wgtypes.Key
	receiver uint64
	index    uint64
}

type transport struct {
	receiver uint64
	secret   [2]uint64
	packet   packet
}

// Sizes of the messages on the wire, for the counters.
const (
	initiationSize = 148
	responseSize   = 92
	transportSize  = 32
)

func newWireguard(c *clock, rng *rand.Rand, indices *uint64, private wgtypes.Key) *wireguard {
	return &wireguard{
		clock: c, rng: rng, indices: indices, private: private, public: private.PublicKey(), up: true,
		frozen: func() time.Time { return time.Time{} },
		peers:  map[wgtypes.Key]*wgPeer{}, owner: map[netip.Prefix]*wgPeer{}, sessions: map[uint64]*wgSession{},
	}
}

// set changes a tunnel, and makes it if it is new. Nil and zero leave as is.
func (w *wireguard) set(key wgtypes.Key, psk *wgtypes.Key, endpoint netip.AddrPort, allowed []netip.Prefix, keepalive time.Duration) {
	p := w.peers[key]
	if p == nil {
		p = &wgPeer{dev: w, key: key}
		p.retry = w.timer(p.expiredRetry)
		p.passive = w.timer(p.expiredPassive)
		p.silent = w.timer(p.initiate)
		p.zero = w.timer(p.forgetSessions)
		p.persistent = w.timer(p.sendKeepalive)
		w.peers[key] = p
	}
	if psk != nil {
		p.psk = *psk
	}
	if endpoint.IsValid() {
		p.endpoint = endpoint
	}
	for _, prefix := range allowed { // an address belongs to one tunnel of a device: the last that claimed it
		if o := w.owner[prefix]; o != nil {
			o.allowed = slices.DeleteFunc(o.allowed, func(x netip.Prefix) bool { return x == prefix })
		}
		w.owner[prefix] = p
		p.allowed = append(p.allowed, prefix)
	}
	speak := p.keepalive == 0 && keepalive > 0
	if keepalive > 0 {
		p.keepalive = keepalive
	}
	if speak && w.up {
		p.sendKeepalive()
	}
}

// timer makes one that waits while the host is frozen.
func (w *wireguard) timer(do func()) timer {
	return timer{clock: w.clock, do: func() {
		if until := w.frozen(); !until.IsZero() {
			w.clock.at(until, do)
			return
		}
		do()
	}}
}

// remove ends a tunnel.
func (w *wireguard) remove(key wgtypes.Key) {
	if p := w.peers[key]; p != nil {
		p.forgetSessions()
		for _, t := range []*timer{&p.retry, &p.passive, &p.silent, &p.zero, &p.persistent} {
			t.stop()
		}
		for _, prefix := range p.allowed {
			delete(w.owner, prefix)
		}
		delete(w.peers, key)
	}
}

// route returns the tunnel that an address belongs to.
func (w *wireguard) route(a netip.Addr) *wgPeer {
	for bits := a.BitLen(); bits >= 0; bits-- {
		prefix, err := a.Prefix(bits)
		if p := w.owner[prefix]; err == nil && p != nil {
			return p
		}
	}
	return nil
}

// transmit puts a packet into the tunnel that its destination belongs to, and says whether there is one.
func (w *wireguard) transmit(pkt packet) bool {
	p := w.route(pkt.dst)
	if p == nil || !w.up {
		return false
	}
	p.stage(pkt)
	return true
}

// receive takes a datagram from the underlay.
func (w *wireguard) receive(from netip.AddrPort, d datagram) {
	if !w.up || !w.frozen().IsZero() {
		return
	}
	switch {
	case d.initiation != nil:
		w.takeInitiation(from, d.initiation)
	case d.response != nil:
		w.takeResponse(from, d.response)
	case d.transport != nil:
		w.takeTransport(from, d.transport)
	}
}

// takeInitiation answers one that is for this device, from a known key, and newer than the last.
func (w *wireguard) takeInitiation(from netip.AddrPort, m *initiation) {
	p := w.peers[m.sender]
	now := w.clock.now
	if m.receiver != w.public || p == nil || !m.stamp.After(p.stamp) || !p.answered.IsZero() && now.Sub(p.answered) <= floodGap {
		return
	}
	p.stamp, p.answered = m.stamp, now
	p.initiated = 0 // the state of our own handshake is overwritten: its answer will not be understood
	p.traversed()
	p.silent.stop()
	p.endpoint = from
	p.rx += initiationSize
	// The response. Whether the pre-shared keys match only the other end finds out.
	p.sentInit = now
	s := w.session(p, m.index, false)
	w.forget(p.next)
	w.forget(p.previous)
	p.next, p.previous = s, nil
	s.secret = [2]uint64{m.index, s.index}
	p.zero.in(3 * rejectAfter)
	p.traversed()
	p.passive.stop()
	p.emit(datagram{response: &response{sender: w.public, psk: p.psk, receiver: m.index, index: s.index}}, responseSize)
}

// takeResponse completes the handshake that we began, if the pre-shared keys are equal.
func (w *wireguard) takeResponse(from netip.AddrPort, m *response) {
	p := w.peers[m.sender]
	if p == nil || p.initiated == 0 || p.initiated != m.receiver || p.psk != m.psk {
		return
	}
	p.initiated = 0
	p.endpoint = from
	p.rx += responseSize
	p.traversed()
	p.silent.stop()
	s := w.session(p, m.index, true)
	delete(w.sessions, s.index)
	s.index = m.receiver
	w.sessions[s.index] = s
	s.secret = [2]uint64{m.receiver, m.index}
	if p.next != nil {
		w.forget(p.current)
		w.forget(p.previous)
		p.previous, p.next = p.next, nil
	} else {
		w.forget(p.previous)
		p.previous = p.current
	}
	p.current = s
	p.zero.in(3 * rejectAfter)
	p.complete()
	p.sendKeepalive() // proves to the other end that we have the session
}

// takeTransport lets a packet out if its session is alive and its source belongs to the tunnel.
func (w *wireguard) takeTransport(from netip.AddrPort, m *transport) {
	s := w.sessions[m.receiver]
	if s == nil || s.secret != m.secret || w.clock.now.Sub(s.created) > rejectAfter {
		return
	}
	p := s.peer
	if s == p.next {
		w.forget(p.previous)
		p.previous, p.current, p.next = p.current, s, nil
		p.complete()
		p.flush()
	}
	p.rx += transportSize + m.packet.size
	p.endpoint = from
	if c := p.current; c != nil && c.initiator && !p.lastMinute && w.clock.now.Sub(c.created) > rejectAfter-keepaliveTimeout-rekeyTimeout {
		p.lastMinute = true
		p.initiate()
	}
	p.traversed()
	p.silent.stop()
	if m.packet.payload == nil {
		return
	}
	if p.passive.on() {
		p.needKeepalive = true
	} else {
		p.passive.in(keepaliveTimeout)
	}
	if w.route(m.packet.source) == p {
		w.deliver(p, m.packet.source, m.packet.dst, m.packet.payload)
	}
}

func (w *wireguard) session(p *wgPeer, remote uint64, initiator bool) *wgSession {
	*w.indices++
	s := &wgSession{peer: p, index: *w.indices, remote: remote, initiator: initiator, created: w.clock.now}
	w.sessions[s.index] = s
	return s
}

func (w *wireguard) forget(s *wgSession) {
	if s != nil {
		delete(w.sessions, s.index)
	}
}
