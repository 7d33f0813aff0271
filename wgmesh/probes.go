package wgmesh

import "time"

// probeWindow remembers the last probes of a link: enough for a loss figure and for saying that nothing comes through.
type probeWindow struct {
	results    [32]bool // ring: answered?
	count, at  int
	lostInARow int
	rtt        time.Duration // smoothed as in RFC 6298: 1/8 of the new value
}

// A link no longer counts as up after deadAfter probes in a row without an answer while nothing else came in either, or
// after deafAfter whatever comes in (our packets do not arrive). At 30 % random loss each way, 2 s a probe and as
// many of the peer's own, the first happens once in some 2,000 link hours, the second once in 10^7.
const (
	deadAfter = 8
	deafAfter = 32
)

func (w *probeWindow) add(rtt time.Duration) {
	ok := rtt > 0
	w.results[w.at] = ok
	w.at = (w.at + 1) % len(w.results)
	w.count = min(w.count+1, len(w.results))
	if !ok {
		w.lostInARow++
		return
	}
	w.lostInARow = 0
	if w.rtt == 0 {
		w.rtt = rtt
	} else {
		w.rtt += (rtt - w.rtt) / 8
	}
}

// dead judges the window; heard is when the tunnel last received anything.
func (w *probeWindow) dead(now, heard time.Time) bool {
	return w.lostInARow >= deafAfter || w.lostInARow >= deadAfter && now.Sub(heard) > deadAfter*ProbeEvery
}

// loss is the share of the remembered probes that had no answer, 0 to 1.
func (w *probeWindow) loss() float64 {
	if w.count == 0 {
		return 0
	}
	lost := 0
	for i := range w.count {
		if !w.results[i] {
			lost++
		}
	}
	return float64(lost) / float64(w.count)
}
