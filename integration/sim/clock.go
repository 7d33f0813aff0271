package sim

import (
	"container/heap"
	"time"
)

// clock is virtual time: things that happen, in order of their time and then of their making.
type clock struct {
	now  time.Time
	todo schedule
	made uint64
}

// start is when every simulation begins.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newClock() *clock { return &clock{now: start} }

// at makes do happen at t, or now if t is past.
func (c *clock) at(t time.Time, do func()) {
	if t.Before(c.now) {
		t = c.now
	}
	c.made++
	heap.Push(&c.todo, happening{t, c.made, do})
}

func (c *clock) after(d time.Duration, do func()) { c.at(c.now.Add(d), do) }

// step lets the next thing happen if it is not after end, and says whether there was one.
func (c *clock) step(end time.Time) bool {
	if len(c.todo) == 0 || c.todo[0].at.After(end) {
		c.now = end
		return false
	}
	h := heap.Pop(&c.todo).(happening)
	c.now = h.at
	h.do()
	return true
}

type happening struct {
	at    time.Time
	order uint64
	do    func()
}

type schedule []happening

func (s schedule) Len() int { return len(s) }
func (s schedule) Less(i, j int) bool {
	if s[i].at.Equal(s[j].at) {
		return s[i].order < s[j].order
	}
	return s[i].at.Before(s[j].at)
}
func (s schedule) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *schedule) Push(x any)   { *s = append(*s, x.(happening)) }
func (s *schedule) Pop() any {
	last := len(*s) - 1
	h := (*s)[last]
	(*s)[last] = happening{}
	*s = (*s)[:last]
	return h
}

// timer is one that can be moved and stopped often without filling the schedule: it is posted at most once at a time,
// and looks when it comes up whether it is still meant.
type timer struct {
	clock  *clock
	do     func()
	due    time.Time // zero: off
	posted time.Time // zero: not in the schedule
}

// set moves the timer to t.
func (t *timer) set(at time.Time) {
	t.due = at
	if t.posted.IsZero() || at.Before(t.posted) {
		t.post(at)
	}
}

func (t *timer) post(at time.Time) {
	t.posted = at
	t.clock.at(at, func() {
		if !t.posted.Equal(at) {
			return // posted again for an earlier time since
		}
		t.posted = time.Time{}
		switch {
		case t.due.IsZero():
		case t.due.After(t.clock.now):
			t.post(t.due)
		default:
			t.due = time.Time{}
			t.do()
		}
	})
}

func (t *timer) in(d time.Duration) { t.set(t.clock.now.Add(d)) }
func (t *timer) stop()              { t.due = time.Time{} }
func (t *timer) on() bool           { return !t.due.IsZero() }
