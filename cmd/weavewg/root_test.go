package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"

	"github.com/weavewg/weavewg/services/api"
)

// command runs the real program (TestMain has put it on the path) and returns its exit code and output.
func command(t *testing.T, attributes *syscall.SysProcAttr, words ...string) (code int, out, errOut string) {
	t.Helper()
	return wrapped(t, attributes, append([]string{"weavewg"}, words...)...)
}

// wrapped is command through another program, such as setpriv.
func wrapped(t *testing.T, attributes *syscall.SysProcAttr, words ...string) (code int, out, errOut string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // cleanups run when the test's own has ended
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = &o, &e, attributes
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), o.String(), e.String()
	}
	if err != nil {
		t.Fatalf("%v: %v", words, err)
	}
	return 0, o.String(), e.String()
}

// TestNotRoot runs the program as a user without rights.
func TestNotRoot(t *testing.T) {
	dir, err := os.MkdirTemp("", "weavewg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "weavewg.yaml")
	err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "weavewg"), program, 0o755),
		os.WriteFile(config, []byte("mesh: home\n"), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	socket := newStandIn().serve(t)
	for p := filepath.Dir(socket); p != "/tmp"; p = filepath.Dir(p) {
		if err := os.Chmod(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	nobody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	for line, want := range map[string]string{
		"up -c " + config:           "needs root: weavewg up makes interfaces and namespaces: use sudo\n",
		"up -d -c " + config:        "needs root: weavewg up makes interfaces and namespaces: use sudo\n",
		"doctor":                    "needs root: weavewg doctor tries interfaces and namespaces out: use sudo\n",
		"down --socket none":        "needs root: weavewg is not running; removing what it left: use sudo\n",
		"status --socket " + socket: "cannot reach weavewg at " + socket + ": permission denied: join group weavewg\n",
	} {
		if code, _, errOut := command(t, nobody, strings.Fields(line)...); code != exitNotPermitted || errOut != want {
			t.Errorf("%s: %d, %s", line, code, errOut)
		}
	}
}

// realNode starts a node of the real program in a network namespace of its own, and takes it down at the end. prefix is a
// program that starts it.
func realNode(t *testing.T, prefix ...string) (file, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "weavewg-test-") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "weavewg.yaml")
	t.Cleanup(func() {
		if code, out, errOut := command(t, nil, "down", "--purge", "-c", file); code != 0 {
			t.Errorf("down: %d, %s%s", code, out, errOut)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	apart := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	for _, words := range [][]string{
		{"weavewg", "init", "-c", file, "--run-dir", filepath.Join(dir, "run"), "--state-dir", filepath.Join(dir, "state"), "--log-level", "debug"},
		slices.Concat(prefix, []string{"weavewg", "up", "-d", "-c", file}),
	} {
		if code, out, errOut := wrapped(t, apart, words...); code != 0 {
			log, _ := os.ReadFile(filepath.Join(dir, "run", "weavewg.log"))
			t.Fatalf("%v: %d, %s%s\n%s", words, code, out, errOut, log)
		}
	}
	return file, dir
}

// TestNoSecretIsShown runs a node, asks it everything and looks for its secrets in all that it prints, logs and keeps, and
// in the arguments and environments of its processes.
func TestNoSecretIsShown(t *testing.T) {
	file, dir := realNode(t)
	shown := map[string]string{}
	for _, line := range []string{
		"status", "status --json", "peers --json", "macs --json", "ps --json", "keys show", "keys show --json", "report", "config show", "config show --json",
		"config check", "config reload", "doctor", "doctor --json", "expose 10.32.0.1/12", "hide", "ping nobody", "up -d", "init",
	} {
		_, out, errOut := command(t, nil, append(strings.Fields(line), "-c", file)...)
		shown[line] = out + errOut
	}
	if !strings.Contains(shown["up -d"], "running already (pid ") && !strings.Contains(shown["up -d"], "in use by another weavewg (pid ") {
		t.Errorf("a second up: %s", shown["up -d"])
	}
	for _, path := range []string{filepath.Join(dir, "run"), filepath.Join(dir, "state", "state.json")} {
		err := filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(name)
			shown[name] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	processes := 0
	for name, text := range processTexts(t, dir) {
		shown[name] = text
		processes++
	}
	if processes < 3 { // daemon, keeper, one WireGuard process
		t.Errorf("only %d processes were looked at", processes)
	}
	secrets := secretsOf(t, file, dir)
	for where, text := range shown {
		for what, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s shows %s", where, what)
			}
		}
	}
	if shown["report"] == "" || shown[filepath.Join(dir, "run", "weavewg.log")] == "" || len(secrets) < 6 {
		t.Errorf("not all was there to be looked at: %d secrets", len(secrets))
	}
}

// processTexts are the arguments and environments of the processes of a node: those that name its folder, and their children.
func processTexts(t *testing.T, dir string) map[string]string {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	ours := map[string]bool{}
	texts := map[string]string{}
	for range 2 { // the second time finds the children of the first
		for _, p := range all {
			cmdline, err := os.ReadFile(p + "/cmdline")
			stat, _ := os.ReadFile(p + "/stat")
			_, after, _ := strings.Cut(string(stat), ") ")
			fields := strings.Fields(after)
			if err != nil || len(fields) < 2 || p == fmt.Sprintf("/proc/%d", os.Getpid()) {
				continue // ended meanwhile, or this test
			}
			if !bytes.Contains(cmdline, []byte(dir)) && !ours[fields[1]] {
				continue
			}
			ours[filepath.Base(p)] = true
			environ, _ := os.ReadFile(p + "/environ")
			texts[p] = string(cmdline) + string(environ)
		}
	}
	return texts
}

// secretsOf are all secrets of a node, in the encodings in which they could be printed.
func secretsOf(t *testing.T, file, dir string) map[string]string {
	t.Helper()
	secrets := map[string]string{}
	text, err := os.ReadFile(filepath.Join(dir, "home.secret"))
	if err != nil {
		t.Fatal(err)
	}
	secrets["the mesh's secret"] = strings.TrimPrefix(strings.TrimSpace(string(text)), "wwg1-")
	key, err := os.ReadFile(filepath.Join(dir, "state", "identity.key"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(key)), "\n")
	secrets["the identity, PEM"] = lines[1]
	der, err := base64.StdEncoding.DecodeString(lines[1])
	if err != nil {
		t.Fatal(err)
	}
	seed := der[len(der)-32:] // RFC 8410: the last octets are the seed
	secrets["the identity, base64"] = strings.TrimRight(base64.StdEncoding.EncodeToString(seed), "=")
	secrets["the identity, hex"] = hex.EncodeToString(seed)

	_, out, _ := command(t, nil, "keys", "show", "--json", "-c", file)
	var keys api.Keys
	if err := json.Unmarshal([]byte(out), &keys); err != nil {
		t.Fatal(err)
	}
	c, err := wgctrl.New()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, slot := range keys.Slots {
		d, err := c.Device(slot.Interface)
		if err != nil {
			t.Fatal(err)
		}
		secrets[d.Name+", base64"] = strings.TrimRight(d.PrivateKey.String(), "=")
		secrets[d.Name+", hex"] = hex.EncodeToString(d.PrivateKey[:])
	}
	return secrets
}

// TestDownRemovesWhatACrashLeft kills the daemon and takes down what stays.
func TestDownRemovesWhatACrashLeft(t *testing.T) {
	file, dir := realNode(t)
	var pid int
	if b, err := os.ReadFile(filepath.Join(dir, "state", "lock")); err != nil {
		t.Fatal(err)
	} else if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(process)
	if err := unix.PidfdSendSignal(process, unix.SIGKILL, nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := waitFor(t.Context(), process, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := command(t, nil, "status", "-c", file); code != exitNotRunning {
		t.Errorf("status: %d, %s", code, errOut)
	}
	if len(processTexts(t, dir)) == 0 {
		t.Error("nothing outlived the daemon")
	}
	code, out, errOut := command(t, nil, "down", "-c", file)
	if want := "weavewg was not running; removed the data plane that it had left\n"; code != 0 || out != want {
		t.Errorf("down: %d, %s%s", code, out, errOut)
	}
	if left := processTexts(t, dir); len(left) != 0 {
		t.Errorf("still there: %v", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "state", "identity.key")); err != nil {
		t.Errorf("the identity is gone without --purge: %v", err)
	}
	if code, _, errOut := command(t, &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}, "up", "-d", "-c", file); code != 0 {
		t.Errorf("up again: %d, %s", code, errOut)
	}
}
