package wgmesh

import "time"

// The pace of probes inside the tunnel in use. Probes in a burst are so many that all of them lost is no chance: at 30 %
// loss each way one in 10^9 bursts is. From the last answer to the verdict it takes probeBusy + burst + two round trips.
const (
	probeBusy  = 500 * time.Millisecond // while frames pass
	probeIdle  = 10 * time.Second
	probeDead  = time.Second // of what is dead: it may come back
	probeBurst = 25 * time.Millisecond
	burstSize  = 32
	// minPatience is the least time that an answer gets: more than a busy processor needs.
	minPatience = 250 * time.Millisecond
	// maxStall is the longest pause between two steps in which a burst still counts: a node that does not run hears nothing.
	maxStall = 300 * time.Millisecond
)

// liveness judges the tunnel in use by the answers to its probes, and by nothing else: what comes in proves one direction
// only, and control sessions take other ways.
type liveness struct {
	window   probeWindow
	srtt     time.Duration // RFC 6298
	rttvar   time.Duration
	watching time.Time // since when this tunnel is probed; zero: it is not
	answered time.Time // last answer, or watching
	burst    time.Time // since when in a burst; zero: in none
	checked  time.Time
}

// watch begins or ends the watch of a tunnel.
func (v *liveness) watch(now time.Time, on bool) {
	switch {
	case !on:
		v.watching, v.burst = time.Time{}, time.Time{}
	case v.watching.IsZero():
		v.watching, v.answered, v.burst, v.checked = now, now, time.Time{}, now
	}
}

// probed takes an answer, or for 0 that one did not come in two seconds.
func (v *liveness) probed(now time.Time, rtt time.Duration) {
	v.window.add(rtt)
	if rtt <= 0 {
		return
	}
	if v.srtt == 0 {
		v.srtt, v.rttvar = rtt, rtt/2
	} else {
		v.rttvar += (max(v.srtt-rtt, rtt-v.srtt) - v.rttvar) / 4
		v.srtt += (rtt - v.srtt) / 8
	}
	if !v.watching.IsZero() {
		v.answered, v.burst = now, time.Time{}
	}
}

// patience is how long an answer may take.
func (v *liveness) patience() time.Duration { return max(minPatience, v.srtt+4*v.rttvar) }

// judge says whether nothing comes through, and when to ask again at the latest (zero: no need).
func (v *liveness) judge(now time.Time, busy, dead bool) (isDead bool, again time.Time) {
	if v.watching.IsZero() {
		return false, time.Time{}
	}
	stalled := now.Sub(v.checked) > maxStall
	v.checked = now
	if dead {
		return true, time.Time{} // until an answer says otherwise
	}
	due := v.answered.Add(v.pace(busy, false) + v.patience())
	switch {
	case v.burst.IsZero() && now.Before(due):
		return false, due
	case v.burst.IsZero() || stalled:
		v.burst = now
	}
	verdict := v.burst.Add(burstSize*probeBurst + v.patience())
	if now.Before(verdict) {
		return false, minTime(verdict, now.Add(maxStall/2))
	}
	return true, time.Time{}
}

// pace is how often to probe now.
func (v *liveness) pace(busy, dead bool) time.Duration {
	switch {
	case dead:
		return probeDead
	case !v.burst.IsZero():
		return probeBurst
	case busy:
		return probeBusy
	}
	return probeIdle
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
