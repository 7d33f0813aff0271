package keeper

import (
	"testing"
	"time"
)

func TestPauseGrowsOnlyForChildrenThatKeepDying(t *testing.T) {
	var last time.Duration
	for i, ms := range []int64{50, 100, 200, 400, 800, 1600, 3200, 5000, 5000} {
		if last = pause(time.Millisecond, last); last.Milliseconds() != ms {
			t.Errorf("death %d: pause %s, want %d ms", i+1, last, ms)
		}
	}
	if p := pause(steady, last); p != 0 {
		t.Errorf("after a long life: %s", p)
	}
}
