package control

import (
	"cmp"
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits before authentication. A prefix is an IPv4 address or an IPv6 /64: what one host can have.
const (
	maxHalfOpen       = 256 // connections whose handshake is not over
	reservedHalfOpen  = 64  // of these, only for addresses of which a member came lately
	maxPrefixHalfOpen = 32
	prefixRate        = 20 // new connections a second of a prefix
	prefixBurst       = 64
	maxPrefixes       = 4096
	maxMembers        = 1024 // addresses
	memberMemory      = time.Hour
	maxStrangers      = 1024 // prefixes
)

// Stranger is a prefix from which connections came that did not become a handshake.
type Stranger struct {
	Prefix      netip.Prefix
	Addr        netip.Addr // the latest
	Connections uint64
	Last        time.Time
}

// gate decides which connections may try a handshake, so that strangers cannot keep members out: budgets for every
// prefix, a limit in all, and a lane of its own for addresses where members were. When the open lane is full, whoever
// has waited longest without knocking makes room: a member knocks within a round trip.
type gate struct {
	mu       sync.Mutex
	open     int        // connections between enter and leave
	waiting  *list.List // of *pass: those that have not knocked, the longest waiting first
	prefixes *recent[netip.Prefix, *budget]
	members  *recent[netip.Addr, time.Time]
	unknown  *recent[netip.Prefix, Stranger]
}

type budget struct {
	open   int
	bucket *rate.Limiter
}

// pass is a connection inside the gate.
type pass struct {
	addr   netip.Addr
	prefix netip.Prefix
	budget *budget
	member bool          // one came from addr lately
	drop   func()        // closes the connection
	place  *list.Element // in gate.waiting; nil once it has knocked
	gone   bool
	knock  bool
}

func newGate() *gate {
	g := &gate{
		waiting:  list.New(),
		prefixes: newRecent[netip.Prefix, *budget](maxPrefixes),
		members:  newRecent[netip.Addr, time.Time](maxMembers),
		unknown:  newRecent[netip.Prefix, Stranger](maxStrangers),
	}
	g.prefixes.keep = func(b *budget) bool { return b.open > 0 }
	return g
}

// prefixOf returns what one host can choose its address from.
func prefixOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // fails only for the zero Addr, and gives the zero Prefix
	return p
}

// enter asks for a new connection; drop closes it when it has to make room for another one. False: refused, and
// counted as a stranger's.
func (g *gate) enter(now time.Time, addr netip.Addr, drop func()) (*pass, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &pass{addr: addr, prefix: prefixOf(addr), drop: drop}
	b, ok := g.prefixes.get(p.prefix)
	if !ok {
		b = &budget{bucket: rate.NewLimiter(prefixRate, prefixBurst)}
	}
	g.prefixes.put(p.prefix, b)
	p.budget = b

	last, known := g.members.get(addr)
	member := known && now.Sub(last) < memberMemory
	p.member = member
	if b.open >= maxPrefixHalfOpen || !member && !b.bucket.AllowN(now, 1) {
		g.stranger(now, p)
		return nil, false
	}
	limit := maxHalfOpen - reservedHalfOpen
	if member {
		limit = maxHalfOpen
	}
	if g.open >= limit && !g.makeRoom(now, member) {
		g.stranger(now, p)
		return nil, false
	}
	g.open++
	b.open++
	p.place = g.waiting.PushBack(p)
	return p, true
}

// makeRoom drops the connection that has waited longest without knocking; a stranger does not push out a member.
func (g *gate) makeRoom(now time.Time, member bool) bool {
	for e := g.waiting.Front(); e != nil; e = e.Next() {
		if victim := e.Value.(*pass); member || !victim.member {
			victim.drop()
			g.remove(now, victim)
			return true
		}
	}
	return false
}

// knocked notes that the connection is not a stranger's.
func (g *gate) knocked(p *pass) {
	g.mu.Lock()
	defer g.mu.Unlock()
	p.knock = true
	if p.place != nil {
		g.waiting.Remove(p.place)
		p.place = nil
	}
}

// leave ends what enter began: the handshake is over.
func (g *gate) leave(now time.Time, p *pass, member bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if member {
		g.members.put(p.addr, now)
	}
	g.remove(now, p)
}

func (g *gate) remove(now time.Time, p *pass) {
	if p.gone {
		return
	}
	p.gone = true
	g.open--
	p.budget.open--
	if p.place != nil {
		g.waiting.Remove(p.place)
		p.place = nil
	}
	if !p.knock {
		g.stranger(now, p)
	}
}

func (g *gate) stranger(now time.Time, p *pass) {
	s, _ := g.unknown.get(p.prefix)
	g.unknown.put(p.prefix, Stranger{Prefix: p.prefix, Addr: p.addr, Connections: s.Connections + 1, Last: now})
}

// strangers returns the counts, the highest first.
func (g *gate) strangers() []Stranger {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Stranger
	g.unknown.all(func(_ netip.Prefix, s Stranger) { all = append(all, s) })
	slices.SortFunc(all, func(a, b Stranger) int {
		return cmp.Or(cmp.Compare(b.Connections, a.Connections), a.Addr.Compare(b.Addr))
	})
	return all
}
