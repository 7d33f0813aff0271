package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// The ring's budget is 15 minutes; a guest that hangs must not take longer.
const ringLimit = 15 * time.Minute

var booted *Guest // by bootOnce, if a test asked for it

var bootOnce = sync.OnceValues(func() (*Guest, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cache, err := filepath.Abs("../../.cache/vm")
	if err != nil {
		return nil, err
	}
	kernel, err := FetchKernel(ctx, cache)
	if err != nil {
		return nil, err
	}
	init := filepath.Join(cache, "init")
	if err := build(init, "./init"); err != nil {
		return nil, err
	}
	booted, err = Boot(ctx, kernel, init)
	return booted, err
})

// guest is the one machine of this test run.
func guest(t *testing.T) *Guest {
	t.Helper()
	g, err := bootOnce()
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestMain(m *testing.M) {
	code := m.Run()
	if booted != nil {
		if err := booted.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the guest:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func build(out, pkg string) error {
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w: %s", pkg, err, text)
	}
	return nil
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), ringLimit)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := lab.Must(testContext(t), guest(t), argv...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGuestRunsDebiansKernel(t *testing.T) {
	start := time.Now()
	release := strings.TrimSpace(must(t, "uname", "-r"))
	host, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(release, "-amd64") || release == strings.TrimSpace(string(host)) {
		t.Errorf("the guest runs %s, the host %s", release, host)
	}
	t.Logf("%s, booted in %v", release, time.Since(start).Round(100*time.Millisecond))
}

func TestKernelFeaturesOfTheRing(t *testing.T) {
	for _, kind := range []string{"wireguard", "vxlan id 7 dstport 4789", "bridge", "veth peer name feature2", "dummy"} {
		must(t, "sh", "-ec", "ip link add feature type "+kind+" && ip link set feature up && ip link del feature")
	}
	for _, script := range []string{
		"nft add table inet feature && nft delete table inet feature",
		"ip tuntap add dev feature mode tun vnet_hdr && ip link del feature",
		"ip netns add feature && ip -n feature link set lo up && ip netns del feature",
		"ip link add feature type veth peer name feature2 && tc qdisc add dev feature root netem delay 1ms && tc qdisc add dev feature2 clsact && ip link del feature",
		"test -c /dev/net/tun",
	} {
		must(t, "sh", "-ec", script)
	}
}

// Two namespaces, kernel WireGuard between them, a ping through it: what the scenarios stand on.
func TestKernelWireGuardCarriesPackets(t *testing.T) {
	must(t, "sh", "-ec", `
		for n in 1 2; do
			ip netns add wg$n
			wg genkey >/tmp/wg$n.key
			wg pubkey </tmp/wg$n.key >/tmp/wg$n.pub
		done
		ip link add under1 netns wg1 type veth peer name under2 netns wg2
		for n in 1 2; do
			o=$((3 - n))
			ip -n wg$n addr add 192.0.2.$n/24 dev under$n
			ip -n wg$n link set under$n up
			ip -n wg$n link add wg0 type wireguard
			ip netns exec wg$n wg set wg0 private-key /tmp/wg$n.key listen-port 6783 \
				peer $(cat /tmp/wg$o.pub) allowed-ips 10.9.0.$o/32 endpoint 192.0.2.$o:6783
			ip -n wg$n addr add 10.9.0.$n/24 dev wg0
			ip -n wg$n link set wg0 up
		done
		ip netns exec wg1 ping -n -c 5 -i 0.2 -W 5 10.9.0.2`)
	if shown := must(t, "ip", "netns", "exec", "wg1", "wg", "show", "wg0", "latest-handshakes"); strings.HasSuffix(strings.TrimSpace(shown), "\t0") {
		t.Errorf("no handshake: %q", shown)
	}
	must(t, "sh", "-ec", "ip netns del wg1; ip netns del wg2")
}

func TestGuestIsAMachine(t *testing.T) {
	ctx, g := testContext(t), guest(t)
	got, err := g.Run(ctx, "sh", "-c", "echo out; echo err >&2; exit 3")
	if err != nil || got != (lab.Result{Stdout: "out\n", Stderr: "err\n", Exit: 3}) {
		t.Errorf("run: %+v, %v", got, err)
	}
	if _, err := g.Run(ctx, "/no/such/program"); err == nil {
		t.Error("a program that is not there was run")
	}

	p, err := g.Start(ctx, "sh", "-c", "echo started; exec sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	for p.Output().Stdout != "started\n" {
		if ctx.Err() != nil {
			t.Fatal("the program never spoke")
		}
	}
	if exit := p.Output().Exit; exit != -1 {
		t.Errorf("a running program has exit %d", exit)
	}
	if err := p.Signal(15); err != nil {
		t.Error(err)
	}
	if got, err := p.Wait(ctx); err != nil || got.Exit != 128+15 {
		t.Errorf("wait: %+v, %v", got, err)
	}
	if err := p.Signal(15); err != nil {
		t.Errorf("signal to an ended program: %v", err)
	}

	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := g.Run(short, "sleep", "1001"); err == nil {
		t.Error("a run outlived its context")
	}
	if r, err := g.Run(ctx, "sh", "-c", "ps ax | grep '[s]leep 1001'"); err != nil || r.Exit == 0 {
		t.Errorf("a cancelled program lives on: %+v, %v", r, err)
	}
}

func TestCopyStaysInTheGuest(t *testing.T) {
	ctx, g := testContext(t), guest(t)
	local := filepath.Join(t.TempDir(), "tool")
	content := bytes.Repeat([]byte("#!/bin/sh\n"), 100_000)
	if err := os.WriteFile(local, content, 0o755); err != nil {
		t.Fatal(err)
	}
	const remote = "/opt/weavewg-copied/deep/tool"
	for range 2 { // the second replaces the first
		if err := g.Copy(ctx, local, remote); err != nil {
			t.Fatal(err)
		}
	}
	if got := must(t, "cat", remote); got != string(content) {
		t.Errorf("copied %d bytes, %d arrived", len(content), len(got))
	}
	must(t, remote) // it kept its mode
	if _, err := os.Stat(remote); !os.IsNotExist(err) {
		t.Errorf("the copy reached the host: %v", err)
	}
}
