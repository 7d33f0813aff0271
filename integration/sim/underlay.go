package sim

import (
	"math"
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
}

func newUnderlay() *underlay {
	return &underlay{places: map[netip.Addr]place{}, side: map[netip.Addr]int{}, broken: map[[2]netip.Addr]bool{}}
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
