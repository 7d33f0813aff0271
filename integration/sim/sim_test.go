package sim

import (
	"testing"
	"time"
)

func TestTry(t *testing.T) {
	for _, n := range []int{2, 5, 20} {
		began := time.Now()
		w := New(1, n, Options{})
		q := everyPair{world: w, ok: known}
		took, ok := w.Until(30*time.Second, 100*time.Millisecond, q.holds)
		t.Logf("%d nodes: known %v %v (real %v)", n, took, ok, time.Since(began))
		q = everyPair{world: w, ok: linked}
		took, ok = w.Until(60*time.Second, 500*time.Millisecond, q.holds)
		steps := 0
		for _, x := range w.Nodes {
			steps += x.steps
		}
		t.Logf("%d nodes: linked %v %v, %d steps %d messages (real %v) %v", n, took, ok, steps, w.messages, time.Since(began), w.notes)
		for _, v := range w.Violations() {
			t.Error(v)
		}
	}
}
