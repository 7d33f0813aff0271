package node

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// A process id is no name: the same id later is another life, and no process at all is gone for good.
func TestLifeOfAProcess(t *testing.T) {
	start := func() (pid string, end func()) {
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return strconv.Itoa(cmd.Process.Pid), func() {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // it was killed
		}
	}
	pid, end := start()
	first, err := lifeOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := lifeOf(pid); err != nil || again != first {
		t.Errorf("%q then %q, %v", first, again, err)
	}
	end()
	if _, err := lifeOf(pid); !errors.Is(err, errGone) {
		t.Errorf("an ended process: %v", err)
	}
	own, err := lifeOf(strconv.Itoa(os.Getpid()))
	if err != nil || own == first {
		t.Errorf("two processes live the same life %q, %v", own, err)
	}
}
