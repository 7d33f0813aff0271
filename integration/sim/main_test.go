package sim

import (
	"os"
	"runtime/debug"
	"testing"
)

// A simulation makes much garbage and keeps little: collecting less often saves an eighth of its time.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}
