package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/weavewg/weavewg/config"
)

// TestSystemdUnit holds what the unit must say for tunnels to outlive a restart, and that its commands and places are ours.
func TestSystemdUnit(t *testing.T) {
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
