package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sshMachine is host b of a pair, reached through Debian's sshd from host a.
func sshMachine(t *testing.T) *SSH {
	t.Helper()
	_, _, a, b := pair(t)
	config, err := ServeSSH(within(t, 10*time.Second), b.Host, b.Addrs[0].Addr(), a.Host)
	if err != nil {
		t.Fatal(err)
	}
	m, err := DialSSH(within(t, 10*time.Second), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
		if err := m.Stop(); err != nil {
			t.Errorf("second stop: %v", err)
		}
	})
	return m
}

func TestSSHRun(t *testing.T) {
	m := sshMachine(t)
	args := []string{"a b", "it's", `"quoted" $HOME \`, "", "*"}
	r, err := m.Run(within(t, 10*time.Second), append([]string{"sh", "-c", `printf '<%s>' "$@"; echo oops >&2; exit 7`, "x"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	if want := "<" + strings.Join(args, "><") + ">"; r.Stdout != want || r.Stderr != "oops\n" || r.Exit != 7 {
		t.Errorf("got %+v, want %s", r, want)
	}
	if out, err := Must(within(t, 10*time.Second), m, "cat", "/proc/net/dev"); err != nil || !strings.Contains(out, "eth0") {
		t.Errorf("not in the host's namespace: %s %v", out, err)
	}
	if r, err := m.Run(within(t, 10*time.Second), "/no/such/program"); err == nil && r.Exit != 127 {
		t.Errorf("a program that does not exist: %+v", r)
	}
}

func TestSSHSignalsAndDeadlines(t *testing.T) {
	m := sshMachine(t)
	p, err := m.Start(within(t, 10*time.Second), "sleep", "63")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(process(p.PID()).file("cmdline")); !strings.Contains(got, "63") {
		waitFor(t, "the wrapper to become the program", func() bool {
			return strings.HasPrefix(string(process(p.PID()).file("cmdline")), "sleep")
		})
	}
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if r, err := p.Wait(within(t, 5*time.Second)); err != nil || r.Exit != 128+15 {
		t.Errorf("%+v %v", r, err)
	}
	if err := p.Signal(unix.SIGTERM); err != nil {
		t.Errorf("signal to what has ended: %v", err)
	}
	if _, err := m.Run(within(t, 200*time.Millisecond), "sleep", "64"); err == nil {
		t.Error("a program outlived its context")
	}
	waitFor(t, "the program to be killed", func() bool {
		return count(t, func(p process) bool { return string(p.file("cmdline")) == "sleep\x0064\x00" }) == 0
	})
}

func TestSSHCopy(t *testing.T) {
	m := sshMachine(t)
	local, remote := filepath.Join(t.TempDir(), "tool"), filepath.Join(t.TempDir(), "deep", "er", "tool")
	if err := os.WriteFile(local, []byte("#!/bin/sh\necho copied\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second replaces the first
		if err := m.Copy(within(t, 10*time.Second), local, remote); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := Must(within(t, 10*time.Second), m, remote); err != nil || out != "copied\n" {
		t.Errorf("%q %v", out, err)
	}
}

func TestSSHStopEndsPrograms(t *testing.T) {
	m := sshMachine(t)
	if _, err := m.Start(within(t, 10*time.Second), "sleep", "65"); err != nil {
		t.Fatal(err)
	}
	if err := m.Stop(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the program to end", func() bool {
		return count(t, func(p process) bool { return string(p.file("cmdline")) == "sleep\x0065\x00" }) == 0
	})
	if _, err := m.Run(t.Context(), "true"); err == nil {
		t.Error("a stopped machine runs programs")
	}
}
