package keeper

import (
	"testing"
	"time"
)

func TestPauseGrowsOnlyForChildrenThatKeepDying(t *testing.T) {
	var last time.Duration
	want := []time.Duration{50, 100, 200, 400, 800, 1600, 3200, 5000, 5000}
	for i, w := range want {
		if last = pause(time.Millisecond, last); last != w*time.Millisecond {
			t.Errorf("death %d: pause %s, want %s", i+1, last, w*time.Millisecond)
		}
	}
	if p := pause(steady, last); p != 0 {
		t.Errorf("after a long life: %s", p)
	}
}
