package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The tests of the packages that make kernel objects, on Debian's kernel and with its WireGuard. What is left out runs
// on this machine, in the unit ring.
func TestEdgesOnDebiansKernel(t *testing.T) {
	for _, edge := range []struct {
		pkg     string
		leftOut string // a pattern of go test -skip
	}{
		// These two are about wireguard-go and insist on a kernel without WireGuard.
		{"wgmesh/wgdev", "^(TestKilledProcessUnderLoad|TestMode)$"},
		// The first reads a limit that Linux has since 6.3; the other damages a bridge with a request that Linux takes since 6.2.
		{"l2bridge/rtnl", "^TestPluggedInNamespacesTalk$|^TestDamageIsRepaired$/^snooping_on$"},
	} {
		t.Run(edge.pkg, func(t *testing.T) {
			local := filepath.Join(t.TempDir(), "edge.test")
			cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-trimpath", "-o", local, "../../"+edge.pkg)
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
			if said, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, said)
			}
			const remote = "/opt/weavewg/edge.test"
			ctx, g := testContext(t), guest(t)
			if err := g.Copy(ctx, local, remote); err != nil {
				t.Fatal(err)
			}
			result, err := g.Run(ctx, "sh", "-c", "cd /tmp && exec "+remote+` -test.timeout=5m -test.skip="$0"`, edge.leftOut)
			if err != nil {
				t.Fatal(err)
			}
			if result.Exit != 0 {
				t.Errorf("exit %d\n%s%s", result.Exit, result.Stdout, result.Stderr)
			}
		})
	}
}
