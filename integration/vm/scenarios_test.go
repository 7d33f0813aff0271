package vm

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
	"github.com/weavewg/weavewg/integration/scenarios"
	"github.com/weavewg/weavewg/services/api"
)

const (
	guestBinary = "/opt/weavewg/weavewg"
	guestProbe  = "/opt/weavewg/probe"
)

// slow is about what emulation costs.
const slow = 10

// programs builds weavewg and the probe and brings them into the guest, once.
var programs = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for from, to := range map[string]string{"../../cmd/weavewg": guestBinary, "../scenarios/probe": guestProbe} {
		local := "../../.cache/vm/" + filepath.Base(to)
		if err := build(local, from); err != nil {
			return err
		}
		if err := booted.Copy(ctx, local, to); err != nil {
			return err
		}
	}
	return nil
})

// hosts makes hosts in the guest: named namespaces on one bridge, with the programs at hand.
func hosts(t *testing.T, names ...string) *scenarios.Env {
	t.Helper()
	ctx, g := testContext(t), guest(t)
	if err := programs(); err != nil {
		t.Fatal(err)
	}
	script := `
		ip netns add underlay
		ip -n underlay link add lan type bridge mcast_snooping 0
		ip -n underlay link set lan up`
	env := &scenarios.Env{Binary: guestBinary, Probe: guestProbe, Slow: slow}
	for i, name := range names {
		site := &scenarios.Site{
			Machine: lab.Inside(g, name, "nsenter", "--net=/run/netns/"+name),
			Addr4:   netip.AddrFrom4([4]byte{10, 99, 0, byte(i + 1)}),
			Addr6:   netip.AddrFrom16([16]byte{0xfd, 0x99, 15: byte(i + 1)}),
			Dir:     "/var/tmp/" + t.Name() + "/" + name,
		}
		env.Sites = append(env.Sites, site)
		script += fmt.Sprintf(`
		ip netns add %[1]s
		ip link add eth0 netns %[1]s type veth peer name port%[2]d netns underlay
		ip -n underlay link set port%[2]d master lan up
		ip -n %[1]s link set lo up
		ip -n %[1]s link set eth0 up
		ip -n %[1]s addr add %[3]s/24 dev eth0
		ip -n %[1]s addr add %[4]s/64 dev eth0 nodad`, name, i, site.Addr4, site.Addr6)
	}
	if _, err := lab.Must(ctx, g, "sh", "-ec", script); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after the test's own context has ended
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		for _, site := range env.Sites {
			if _, err := lab.Must(ctx, g, "ip", "netns", "del", site.Name()); err != nil {
				t.Error(err)
			}
		}
		if _, err := lab.Must(ctx, g, "ip", "netns", "del", "underlay"); err != nil {
			t.Error(err)
		}
	})
	return env
}

func TestScenariosWithKernelWireGuard(t *testing.T) {
	for _, scenario := range scenarios.Portable() {
		t.Run(scenario.Name, func(t *testing.T) {
			scenario.Play(t, hosts(t, []string{"alpha", "beta", "gamma"}[:scenario.Hosts]...))
		})
	}
}

// wireguard: auto takes the kernel's where there is one, and status says so.
func TestNodesUseKernelWireGuard(t *testing.T) {
	ctx, env := testContext(t), hosts(t, "alpha")
	node, err := lab.NewNode(ctx, env.Sites[0], lab.NodeSpec{
		Secret: "vm-0123456789abcdef-0123456789abcdef", Binary: env.Binary, Dir: env.Sites[0].Dir,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := node.Up(ctx); err != nil {
		t.Fatal(err)
	}
	var status api.Status
	if err := node.JSON(ctx, &status, "status"); err != nil {
		t.Fatal(err)
	}
	if status.Node.WireGuard != "kernel" {
		t.Errorf("WireGuard is %s: %s", status.Node.WireGuard, status.Node.WireGuardReason)
	}
	if _, err := node.Must(ctx, "down"); err != nil {
		t.Error(err)
	}
}
