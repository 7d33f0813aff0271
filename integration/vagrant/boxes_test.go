//go:build vagrant

package vagrant

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
	"github.com/weavewg/weavewg/integration/scenarios"
	"github.com/weavewg/weavewg/services/api"
)

// The flags of make vagrant; run.sh sets them.
var (
	sshConfig = flag.String("ssh-config", "", "file with the output of vagrant ssh-config")
	binary    = flag.String("weavewg", "", "the program")
	probe     = flag.String("probe", "", "the probe of the scenarios")
)

const (
	remoteBinary = "/opt/weavewg/weavewg"
	remoteProbe  = "/opt/weavewg/probe"
)

// subnet is the private network of the Vagrantfile.
var subnet = netip.MustParsePrefix("192.168.56.0/24")

// boxes connects to the boxes, in the order of their names, and puts the programs there.
func boxes(t *testing.T, dir string) *scenarios.Env {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	file, err := os.Open(*sshConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	configs, err := ReadSSHConfig(file)
	if err != nil || len(configs) != 3 {
		t.Fatalf("%d boxes: %v", len(configs), err)
	}
	env := &scenarios.Env{Binary: remoteBinary, Probe: remoteProbe}
	for _, config := range configs {
		machine, err := lab.DialSSH(ctx, config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = machine.Stop() }) // a box outlives its test
		for local, remote := range map[string]string{*binary: remoteBinary, *probe: remoteProbe} {
			if err := machine.Copy(ctx, local, remote); err != nil {
				t.Fatal(err)
			}
		}
		site := &scenarios.Site{Machine: machine, Addr4: address(t, ctx, machine), Dir: "/var/tmp/weavewg-boxes/" + dir}
		env.Sites = append(env.Sites, site)
	}
	return env
}

func address(t *testing.T, ctx context.Context, m lab.Machine) netip.Addr {
	t.Helper()
	out, err := lab.Must(ctx, m, "hostname", "-I")
	if err != nil {
		t.Fatal(err)
	}
	for word := range strings.FieldsSeq(out) {
		if addr, err := netip.ParseAddr(word); err == nil && subnet.Contains(addr) {
			return addr
		}
	}
	t.Fatalf("%s has no address in %s: %s", m.Name(), subnet, out)
	return netip.Addr{}
}

// Scenarios of one and two hosts: alpha and beta, who reach each other. Those of three need all pairs.
func TestScenariosOnBoxes(t *testing.T) {
	for _, scenario := range scenarios.Portable() {
		if scenario.Hosts <= 2 {
			t.Run(scenario.Name, func(t *testing.T) { scenario.Play(t, boxes(t, scenario.Name)) })
		}
	}
}

// The blocked pair: beta and gamma know each other through alpha, and each says why it has no link to the other.
func TestBlockedPairSaysWhy(t *testing.T) {
	env := boxes(t, "blocked")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var nodes []*lab.Node
	for _, site := range env.Sites {
		node, err := lab.NewNode(ctx, site, lab.NodeSpec{
			Secret: "blocked-pair-0123456789abcdef-0123456789abcdef", Binary: env.Binary, Dir: site.Dir,
			Peers: []string{env.Sites[0].Addr4.String()},
		})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, node)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			_, _ = node.Command(ctx, "down", "--purge") // it may not have come up
		})
		if err := node.Up(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for i, other := range map[int]int{1: 2, 2: 1} {
		err := lab.Until(ctx, func(ctx context.Context) error {
			var status api.Status
			if err := nodes[i].JSON(ctx, &status, "status"); err != nil {
				return err
			}
			for _, peer := range status.Peers {
				if peer.Name == nodes[other].Name() && peer.State != "up" && peer.Reason != "" {
					return nil
				}
			}
			return fmt.Errorf("%s does not say why it has no link to %s: %+v", nodes[i].Name(), nodes[other].Name(), status.Peers)
		})
		if err != nil {
			t.Error(err)
		}
	}
}
