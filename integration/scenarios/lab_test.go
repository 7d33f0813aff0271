package scenarios

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

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
