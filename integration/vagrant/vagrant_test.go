package vagrant

import (
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What the Vagrantfile defines, read by Ruby without Vagrant. The boxes themselves are for make vagrant: they need
// virtualization and a box server.
func TestVagrantfileDefinesThreeBoxesAndOneBlockedPair(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "ruby", "testdata/read.rb", "Vagrantfile").Output()
	if err != nil {
		t.Fatalf("ruby (Debian: ruby): %v", err)
	}
	var got struct {
		Image string
		Boxes map[string]struct {
			Hostname, Address string
			Provision         []struct{ Run, Script string }
		}
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Boxes) != 3 || got.Image == "" {
		t.Fatalf("%d boxes of %q", len(got.Boxes), got.Image)
	}
	for _, name := range []string{"alpha", "beta", "gamma"} {
		box := got.Boxes[name]
		if box.Hostname != name {
			t.Errorf("box %s calls itself %q", name, box.Hostname)
		}
		if addr, err := netip.ParseAddr(box.Address); err != nil || !addr.IsPrivate() {
			t.Errorf("box %s has address %q", name, box.Address)
		}
		for i, step := range box.Provision {
			checkShell(t, step.Script)
			if i > 0 && step.Run != "always" {
				t.Errorf("box %s: its filter would be gone after a restart", name)
			}
		}
	}
	for from, to := range map[string]string{"alpha": "", "beta": "gamma", "gamma": "beta"} {
		filter := ""
		for _, step := range got.Boxes[from].Provision[1:] {
			filter += step.Script
		}
		for name, box := range got.Boxes {
			if blocked := strings.Contains(filter, box.Address); blocked != (name == to) {
				t.Errorf("%s blocks %s: %v", from, name, blocked)
			}
		}
		if _, rules, ok := strings.Cut(filter, "<<'NFT'\n"); ok {
			checkRules(t, strings.TrimSuffix(strings.TrimSpace(rules), "NFT"))
		}
	}
}

func checkShell(t *testing.T, script string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-n")
	cmd.Stdin = strings.NewReader(script)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s in\n%s", err, said, script)
	}
}

// checkRules lets nft read the rules without applying them.
func checkRules(t *testing.T, rules string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "rules")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.CommandContext(t.Context(), "nft", "--check", "--file", file).CombinedOutput(); err != nil {
		t.Errorf("nft: %v: %s in\n%s", err, said, rules)
	}
}
