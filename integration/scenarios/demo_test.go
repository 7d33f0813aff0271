package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

func TestDemo(t *testing.T) {
	start := time.Now()
	d := startDemo(t)
	if code := d.end(t, time.Minute); code != 0 {
		t.Fatalf("exit %d:\n%s", code, d.output())
	}
	t.Logf("demo took %v\n%s", time.Since(start).Round(100*time.Millisecond), d.output())
	if lines := strings.Split(strings.TrimSpace(d.output()), "\n"); !strings.HasPrefix(lines[len(lines)-1], "demo ok") {
		t.Errorf("the last line is %q", lines[len(lines)-1])
	}
	d.leavesNothing(t)
}

func TestDemoInterrupted(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		for _, moment := range []string{"weavewg up on each", "weavewg attach", "IPv4 ping"} {
			d := startDemo(t)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			err := lab.Until(ctx, func(context.Context) error {
				if !strings.Contains(d.output(), moment) {
					return fmt.Errorf("not at %q", moment)
				}
				return nil
			})
			cancel()
			if err != nil {
				t.Errorf("%v: %s", err, d.output())
			}
			if err := d.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if code := d.end(t, 15*time.Second); code != 1 {
				t.Errorf("%v at %q: exit %d:\n%s", sig, moment, code, d.output())
			}
			d.leavesNothing(t)
		}
	}
}

// A demo that is killed cannot clean up; the next one does.
func TestDemoKilled(t *testing.T) {
	d := startDemo(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := lab.Until(ctx, func(context.Context) error {
		if !strings.Contains(d.output(), "weavewg attach") {
			return fmt.Errorf("not that far: %s", d.output())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	d.end(t, 15*time.Second)
	if err := lab.Sweep(); err != nil {
		t.Error(err)
	}
	d.leavesNothing(t)
}

func TestDemoRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		argv []string
		code int
		want string
	}{
		{"not root", []string{"setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", binary, "demo"}, 5, "needs root"},
		{"root without its powers", []string{"setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin", binary, "demo"}, 5, "CAP_NET_ADMIN"},
		{"no TUN", []string{"unshare", "--mount", "sh", "-c", `mount -t tmpfs none /dev/net && exec "$0" demo`, binary}, 1, "/dev/net/tun"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The program may lie where only root looks.
			if err := os.Chmod(filepath.Dir(binary), 0o755); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			cmd := exec.CommandContext(t.Context(), c.argv[0], c.argv[1:]...)
			cmd.Stdout, cmd.Stderr = &out, &out
			_ = cmd.Run() // the exit code is what counts
			said := strings.TrimSpace(out.String())
			t.Logf("exit %d: %s", cmd.ProcessState.ExitCode(), said)
			if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(said, c.want) || strings.Contains(said, "\n") {
				t.Errorf("want exit %d and one line with %q", c.code, c.want)
			}
		})
	}
}

// demoRun is a running demo.
type demoRun struct {
	cmd  *exec.Cmd
	file *os.File // what it prints
}

func startDemo(t *testing.T) *demoRun {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	d := &demoRun{cmd: exec.Command(binary, "demo"), file: file}
	d.cmd.Stdout, d.cmd.Stderr = file, file
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *demoRun) output() string {
	b, err := os.ReadFile(d.file.Name())
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// end waits for the end and returns the exit code.
func (d *demoRun) end(t *testing.T, limit time.Duration) int {
	t.Helper()
	timer := time.AfterFunc(limit, func() {
		t.Errorf("the demo does not end within %v", limit)
		_ = d.cmd.Process.Kill()
	})
	defer timer.Stop()
	_ = d.cmd.Wait() // the exit code is what counts
	return d.cmd.ProcessState.ExitCode()
}

// leavesNothing checks that neither folder nor process of the demo is left.
func (d *demoRun) leavesNothing(t *testing.T) {
	t.Helper()
	name := fmt.Sprintf("weavewg-lab-%d-", d.cmd.Process.Pid)
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), name+"*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	out, err := exec.CommandContext(t.Context(), probe, "ps", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	if s := strings.TrimSpace(string(out)); s != "[]" {
		t.Errorf("left over: %s", s)
	}
}
