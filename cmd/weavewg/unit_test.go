package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/config"
)

// unitSettings reads the systemd unit of the examples.
func unitSettings(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../examples/systemd/weavewg.service")
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '[' {
			continue
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			t.Errorf("not a setting: %s", line)
		}
		if _, twice := settings[name]; twice {
			t.Errorf("%s is given twice", name)
		}
		settings[name] = value
	}
	return settings
}

// TestSystemdUnit holds what the unit must say for tunnels to outlive a restart, and that its commands and places are ours.
func TestSystemdUnit(t *testing.T) {
	settings := unitSettings(t)
	for name, want := range map[string]string{
		"Type": "notify", "KillMode": "process", "RuntimeDirectoryPreserve": "yes", "StateDirectoryMode": "0700", "DeviceAllow": "/dev/net/tun rw",
		"Wants": "network-pre.target", "After": "network-pre.target", "RestrictNamespaces": "net",
		"RuntimeDirectory": strings.TrimPrefix(config.DefaultRunDir, "/run/"), "StateDirectory": "weavewg",
	} {
		if settings[name] != want {
			t.Errorf("%s=%s, want %s", name, settings[name], want)
		}
	}
	if !slices.Contains(strings.Fields(settings["Before"]), "docker.service") {
		t.Errorf("Before=%s", settings["Before"])
	}
	for _, breaks := range []string{"PrivateNetwork", "PrivateDevices", "ProtectKernelTunables", "ProtectProc", "PrivateTmp", "PrivateUsers"} {
		if _, set := settings[breaks]; set {
			t.Errorf("%s would keep weavewg from its work", breaks)
		}
	}
	for _, name := range []string{"ExecStart", "ExecReload"} {
		words := strings.Fields(settings[name])
		if len(words) < 3 || words[0] != "/usr/local/bin/weavewg" || !slices.Contains(words, config.DefaultFile) {
			t.Errorf("%s=%s", name, settings[name])
			continue
		}
		if cmd, _, err := newRootCommand(&app{}).Find(words[1:]); err != nil || cmd.Name() == "weavewg" {
			t.Errorf("%s: no such command: %v", name, err)
		}
	}
}

// TestTheRightsOfTheUnitSuffice runs a node with no more capabilities than the unit gives, and plugs in a process of
// another user.
func TestTheRightsOfTheUnitSuffice(t *testing.T) {
	rights := "-all"
	for _, c := range strings.Fields(unitSettings(t)["CapabilityBoundingSet"]) {
		rights += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	file, _ := realNode(t, "setpriv", "--bounding-set", rights, "--inh-caps", "-all", "--no-new-privs")
	guest := exec.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "cat")
	guest.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	hold, err := guest.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	echo, err := guest.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := guest.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hold.Close()
		if err := guest.Wait(); err != nil {
			t.Error(err)
		}
	})
	// Once cat answers, the rights of root are gone.
	if _, err := hold.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := echo.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	pid := fmt.Sprint(guest.Process.Pid)
	if code, out, errOut := command(t, nil, "attach", pid, "10.32.1.9/12", "-c", file); code != 0 || !strings.HasPrefix(out, "ethwe ") {
		t.Errorf("attach: %d, %s%s", code, out, errOut)
	}
	if code, out, errOut := command(t, nil, "expose", "10.32.0.1/12", "-c", file); code != 0 {
		t.Errorf("expose: %d, %s%s", code, out, errOut)
	}
	if code, _, errOut := command(t, nil, "detach", pid, "-c", file); code != 0 {
		t.Errorf("detach: %d, %s", code, errOut)
	}
}

// TestTellsSystemd runs `up` as a service manager does, and reads what it is told.
func TestTellsSystemd(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "notify")
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	next := func(want string) {
		t.Helper()
		b := make([]byte, 100)
		for {
			if err := told.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			n, err := told.Read(b)
			if err != nil {
				t.Fatalf("systemd waits for %s: %v", want, err)
			}
			if got := string(b[:n]); got == want {
				return
			} else if got != "WATCHDOG=1" {
				t.Fatalf("systemd is told %s, wants %s", got, want)
			}
		}
	}
	file, runDir := filepath.Join(dir, "weavewg.yaml"), filepath.Join(dir, "run")
	if code, _, errOut := command(t, nil, "init", "-c", file, "--state-dir", filepath.Join(dir, "state"), "--run-dir", runDir); code != 0 {
		t.Fatal(errOut)
	}
	cmd := exec.Command("weavewg", "up", "-c", file)
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=300000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var log bytes.Buffer
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	next("READY=1")
	next("WATCHDOG=1")
	next("WATCHDOG=1")
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	next("RELOADING=1")
	next("READY=1")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	next("STOPPING=1")
	if err := cmd.Wait(); err != nil {
		t.Errorf("up: %v\n%s", err, log.String())
	}
	if !strings.Contains(log.String(), "configuration reloaded") {
		t.Errorf("log:\n%s", log.String())
	}
	if code, out, errOut := command(t, nil, "down", "-c", file); code != 0 || !strings.Contains(out, "removed the data plane") {
		t.Errorf("down: %d, %s%s", code, out, errOut)
	}
}
