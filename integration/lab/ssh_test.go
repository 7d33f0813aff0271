package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// sshMachine is host b of a pair, reached through Debian's sshd from host a.
func sshMachine(t *testing.T) *SSH {
	t.Helper()
	l, _, a, b := pair(t)
	write := func(name string, text []byte) string {
		path := filepath.Join(l.Dir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keyPair := func() (private []byte, public ssh.PublicKey) {
		pub, priv, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		block, err := ssh.MarshalPrivateKey(priv, "")
		if err != nil {
			t.Fatal(err)
		}
		public, err = ssh.NewPublicKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(block), public
	}
	hostKey, hostPublic := keyPair()
	userKey, userPublic := keyPair()
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // Debian's sshd wants it, its unit makes it
		t.Fatal(err)
	}
	config := write("sshd_config", []byte(strings.Join([]string{
		"HostKey " + write("host_key", hostKey),
		"AuthorizedKeysFile " + write("authorized_keys", ssh.MarshalAuthorizedKey(userPublic)),
		"ListenAddress 10.0.0.2:22", "PidFile none", "StrictModes no", "UsePAM no", "PermitRootLogin prohibit-password",
	}, "\n")))
	sshd, err := b.Host.Start(t.Context(), "/usr/sbin/sshd", "-D", "-e", "-f", config)
	if err != nil {
		t.Fatal(err)
	}
	c := SSHConfig{
		Name: "behind-ssh", Addr: "10.0.0.2:22", User: "root", Key: userKey, HostKey: hostPublic,
		Dial: func(ctx context.Context, addr string) (conn net.Conn, err error) {
			err = a.Host.Do(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
				return err
			})
			return conn, err
		},
	}
	var m *SSH
	err = Until(within(t, 10*time.Second), func(ctx context.Context) (err error) {
		m, err = DialSSH(ctx, c)
		return err
	})
	if err != nil {
		t.Fatalf("%v; sshd says: %s", err, sshd.Output().Stderr)
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
