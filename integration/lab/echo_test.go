package lab

import (
	"testing"
	"time"
)

func TestPingReportGaps(t *testing.T) {
	const ms = time.Millisecond
	start := time.Unix(1000, 0)
	report := func(answered string) (r PingReport) {
		for i, c := range answered {
			e := Echo{At: start.Add(time.Duration(i) * 10 * ms)}
			if c == '+' {
				e.RTT = ms
			}
			r.Requests = append(r.Requests, e)
		}
		return r
	}
	for _, c := range []struct {
		answered  string
		lost      int
		gap       time.Duration
		after     time.Duration // from which on to look again
		gapAfter  time.Duration
		firstSeen time.Duration // -1: never
	}{
		{"+++++", 0, 10 * ms, 15 * ms, 10 * ms, 6 * ms},
		{"++--+++", 2, 30 * ms, 25 * ms, 15 * ms, 16 * ms},
		{"+-----", 5, 50 * ms, 0, 50 * ms, -1},
		{"-----", 5, 40 * ms, 0, 40 * ms, -1},
		{"", 0, 0, 0, 0, -1},
	} {
		r := report(c.answered)
		if r.Lost() != c.lost || r.LongestGap() != c.gap {
			t.Errorf("%q: lost %d, gap %v; want %d, %v", c.answered, r.Lost(), r.LongestGap(), c.lost, c.gap)
		}
		if got := r.LongestGapAfter(start.Add(c.after)); got != c.gapAfter {
			t.Errorf("%q: gap %v after %v, want %v", c.answered, got, c.after, c.gapAfter)
		}
		got, ok := r.FirstAnswerAfter(start.Add(c.after))
		if ok != (c.firstSeen >= 0) || ok && got != c.firstSeen {
			t.Errorf("%q: first answer %v, %v after %v, want %v", c.answered, got, ok, c.after, c.firstSeen)
		}
	}
}
