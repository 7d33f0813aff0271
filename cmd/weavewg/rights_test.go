package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUpWithoutWhatItNeeds: root in a container often may not do what root may. It is said in one line, and nothing is
// left running.
func TestUpWithoutWhatItNeeds(t *testing.T) {
	apart := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	noTUN := []string{"unshare", "-m", "--propagation", "private", "sh", "-c", `mount -t tmpfs none /dev/net && exec "$@"`, "sh"}
	without := func(right string) []string {
		return []string{"setpriv", "--bounding-set", "-" + right, "--inh-caps", "-" + right}
	}
	for name, c := range map[string]struct {
		prefix []string
		code   int
		want   string
	}{
		"no CAP_NET_ADMIN": {without("net_admin"), exitNotPermitted, "weavewg up needs root (CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_NET_RAW) to make interfaces and namespaces"},
		"no CAP_SYS_ADMIN": {without("sys_admin"), exitNotPermitted, "weavewg up needs root (CAP_NET_ADMIN"},
		"no CAP_NET_RAW":   {without("net_raw"), exitNotPermitted, "weavewg up needs root (CAP_NET_ADMIN"},
		"no TUN":           {noTUN, exitFailed, "/dev/net/tun is missing: load the tun module (modprobe tun), or give the container that device"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := initNode(t)
			for _, detach := range [][]string{nil, {"-d"}} {
				line := append([]string{"weavewg", "up", "-c", file, "--log-level", "error"}, detach...)
				code, out, errOut := wrapped(t, apart, append(c.prefix, line...)...)
				if code != c.code || out != "" || !strings.Contains(errOut, c.want) || strings.Count(strings.TrimSpace(errOut), "\n") > 0 {
					t.Errorf("up %v: %d, %s%s", detach, code, out, errOut)
				}
				if left := processTexts(t, dir); len(left) != 0 {
					t.Errorf("still there: %v", left)
				}
			}
		})
	}
}

// initNode writes the files of a node.
func initNode(t *testing.T) (dir, file string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "weavewg-test-") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	file = filepath.Join(dir, "weavewg.yaml")
	if code, out, errOut := command(t, nil, "init", "-c", file, "--run-dir", filepath.Join(dir, "run"), "--state-dir", filepath.Join(dir, "state")); code != 0 {
		t.Fatalf("init: %d, %s%s", code, out, errOut)
	}
	return dir, file
}

// TestSignalsEndTheDaemon: the daemon ends with exit 0, says what becomes of frames, and leaves the data plane.
func TestSignalsEndTheDaemon(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			dir, file := initNode(t)
			cmd := exec.CommandContext(t.Context(), "weavewg", "up", "-c", file)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
			var said bytes.Buffer
			cmd.Stderr = &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if code, out, errOut := command(t, nil, "down", "-c", file); code != 0 {
					t.Errorf("down: %d, %s%s", code, out, errOut)
				}
				if left := processTexts(t, dir); len(left) != 0 {
					t.Errorf("still there: %v", left)
				}
			})
			if code, _, errOut := command(t, nil, "wait", "--timeout", "20s", "-c", file); code != 0 {
				t.Fatalf("wait: %d, %s", code, errOut)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			limit := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
			defer limit.Stop()
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v: %s", err, said.String())
			}
			if !strings.Contains(said.String(), "frames between hosts wait for the next start") {
				t.Errorf("says nothing of frames: %s", said.String())
			}
			if len(processTexts(t, dir)) == 0 {
				t.Error("the data plane is gone")
			}
		})
	}
}
