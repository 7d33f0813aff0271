package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// Programs that all tests share: built once a run, or given by WEAVEWG_BINARY.
var binary, probe string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weavewg-scenarios-")
	if err == nil {
		probe, err = build(dir, "probe", "./probe")
	}
	if binary = os.Getenv("WEAVEWG_BINARY"); err == nil && binary == "" {
		binary, err = build(dir, "weavewg", "../../cmd/weavewg")
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func build(dir, name, pkg string) (string, error) {
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-trimpath", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, text)
	}
	return out, nil
}

// TestLab plays every scenario on hosts made of network namespaces, all on one switch.
func TestLab(t *testing.T) {
	for _, s := range All() {
		t.Run(s.Name, func(t *testing.T) { s.Play(t, labEnv(t, s)) })
	}
}

// TestSSH plays some scenarios over SSH, as on Vagrant boxes: the hosts are those of a lab, but programs are started,
// watched, signalled and copied through their sshd.
func TestSSH(t *testing.T) {
	for _, s := range Portable() {
		if s.Name != "FirstPing" && s.Name != "DaemonKilled" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			e := labEnv(t, s)
			console, err := e.Net.Lab.Host("console")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Net.Lab.Link(console, e.Net.Switch, []netip.Prefix{netip.MustParsePrefix("192.0.2.250/24")}); err != nil {
				t.Fatal(err)
			}
			local, folder := []string{e.Binary, e.Probe}, filepath.Join(e.Net.Lab.Dir(), "programs")
			for i, site := range e.Sites {
				site.Machine = overSSH(t, e.Net.Links[i].Host, site.Addr4, console)
				for _, program := range local {
					if err := site.Copy(t.Context(), program, filepath.Join(folder, filepath.Base(program))); err != nil {
						t.Fatal(err)
					}
				}
			}
			e.Binary, e.Probe = filepath.Join(folder, filepath.Base(e.Binary)), filepath.Join(folder, filepath.Base(e.Probe))
			e.Net = nil // out of reach
			s.Play(t, e)
		})
	}
}

// overSSH is a host reached through its sshd.
func overSSH(t *testing.T, h *lab.Host, addr netip.Addr, console *lab.Host) lab.Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	config, err := lab.ServeSSH(ctx, h, addr, console)
	if err != nil {
		t.Fatal(err)
	}
	m, err := lab.DialSSH(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// labEnv builds the hosts of a scenario.
func labEnv(t *testing.T, s Scenario) *Env {
	t.Helper()
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	sw, err := l.Switch("underlay")
	if err != nil {
		t.Fatal(err)
	}
	e := &Env{Binary: binary, Probe: probe, Net: &Net{Lab: l, Switch: sw}}
	var opts []lab.LinkOption
	if s.Wires {
		opts = append(opts, lab.OverWire(lab.WireSpec{}))
	}
	for i := range s.Hosts {
		host, err := l.Host(fmt.Sprintf("node%d", i))
		if err != nil {
			t.Fatal(err)
		}
		addr4 := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), 24)
		addr6 := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i + 1)}), 64)
		link, err := l.Link(host, sw, []netip.Prefix{addr4, addr6}, opts...)
		if err != nil {
			t.Fatal(err)
		}
		e.Net.Links = append(e.Net.Links, link)
		e.Sites = append(e.Sites, &Site{
			Machine: host, Addr4: addr4.Addr(), Addr6: addr6.Addr(), Dir: filepath.Join(l.Dir(), host.Name()),
		})
	}
	return e
}
