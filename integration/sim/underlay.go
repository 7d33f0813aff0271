package sim

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"time"
)

// place is where a node is on the underlay: delay grows with distance.
type place struct{ x, y float64 }

// Round-trip times of the nearest and the farthest pair.
const (
	minRTT = 10 * time.Millisecond
	maxRTT = 150 * time.Millisecond
)

// underlay says who reaches whom, and how fast.
type underlay struct {
	places map[netip.Addr]place
	side   map[netip.Addr]int // in a partition: packets pass within a side only
	broken map[[2]netip.Addr]bool
	deaf   map[[2]netip.Addr]bool // pairs without UDP, in this direction
	silent map[netip.Addr]bool    // hosts whose UDP goes nowhere
	rng    *rand.Rand
	loss   float64       // share of the datagrams that is lost
	jitter time.Duration // datagrams are late by up to so much
}

func newUnderlay(rng *rand.Rand) *underlay {
	return &underlay{
		places: map[netip.Addr]place{}, side: map[netip.Addr]int{}, broken: map[[2]netip.Addr]bool{}, deaf: map[[2]netip.Addr]bool{}, silent: map[netip.Addr]bool{}, rng: rng,
	}
}

// lost draws whether one more datagram is.
func (u *underlay) lost() bool { return u.loss > 0 && u.rng.Float64() < u.loss }

// late is the time that a datagram takes.
func (u *underlay) late(a, b netip.Addr) time.Duration {
	d := u.delay(a, b)
	if u.jitter > 0 {
		d += time.Duration(u.rng.Int64N(int64(u.jitter)))
	}
	return d
}

// delay is the time from a to b.
func (u *underlay) delay(a, b netip.Addr) time.Duration {
	p, q := u.places[a], u.places[b]
	far := math.Hypot(p.x-q.x, p.y-q.y) / math.Sqrt2
	return (minRTT + time.Duration(far*float64(maxRTT-minRTT))) / 2
}

// blocked says that nothing gets from a to b.
func (u *underlay) blocked(a, b netip.Addr) bool {
	return u.side[a] != u.side[b] || u.broken[[2]netip.Addr{a, b}]
}

// cut blocks a pair in both directions.
func (u *underlay) cut(a, b netip.Addr) {
	u.broken[[2]netip.Addr{a, b}], u.broken[[2]netip.Addr{b, a}] = true, true
}
