package wgmesh

import "time"

// probeWindow remembers the last probes of a link, for a loss figure.
type probeWindow struct {
	results   [32]bool // ring: answered?
	count, at int
	rtt       time.Duration // smoothed as in RFC 6298: 1/8 of the new value
}

func (w *probeWindow) add(rtt time.Duration) {
	ok := rtt > 0
	w.results[w.at] = ok
	w.at = (w.at + 1) % len(w.results)
	w.count = min(w.count+1, len(w.results))
	if !ok {
		return
	}
	if w.rtt == 0 {
		w.rtt = rtt
	} else {
		w.rtt += (rtt - w.rtt) / 8
	}
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
