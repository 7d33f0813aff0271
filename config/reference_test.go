package config

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// TestReferenceIsTheDefaults holds reference.yaml against a file that sets nothing but the mesh.
func TestReferenceIsTheDefaults(t *testing.T) {
	full := mustParse(t, Reference)
	empty := mustParse(t, "mesh: home")
	if d := cmp.Diff(empty.Values(), full.Values()); d != "" {
		t.Errorf("reference.yaml is not the defaults (-default +reference):\n%s", d)
	}
}

// TestReferenceDocumentsEveryKey wants a comment with the right reload line above every key of the schema.
func TestReferenceDocumentsEveryKey(t *testing.T) {
	var root yaml.Node
	if err := yaml.Unmarshal([]byte(Reference), &root); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(Reference, "\n")
	reload := regexp.MustCompile(`# reload: (live|restart)$`)
	var check func(m *yaml.Node, keys []key, above *bool)
	check = func(m *yaml.Node, keys []key, above *bool) {
		seen := map[string]*yaml.Node{}
		for i := 0; i < len(m.Content); i += 2 {
			seen[m.Content[i].Value] = m.Content[i+1]
			k, ok := find(keys, m.Content[i].Value)
			if !ok {
				t.Fatalf("reference.yaml has key %q, the schema has not", m.Content[i].Value)
			}
			if k.kind == section {
				check(m.Content[i+1], k.sub, nil)
				continue
			}
			live := k.live
			if above != nil {
				live = *above
			}
			line := m.Content[i].Line
			word := reload.FindStringSubmatch(strings.TrimSpace(lines[line-2]))
			if word == nil {
				t.Errorf("line %d: %s has no `# reload:` line above it", line, k.name)
				continue
			}
			if (word[1] == "live") != live {
				t.Errorf("line %d: %s says reload: %s, the schema has live = %v", line, k.name, word[1], live)
			}
			if !strings.HasPrefix(strings.TrimSpace(lines[line-3]), "#") {
				t.Errorf("line %d: %s is not explained", line, k.name)
			}
			if k.kind == items {
				check(m.Content[i+1].Content[0], k.sub, &live)
			}
		}
		for _, k := range keys {
			if seen[k.name] == nil {
				t.Errorf("reference.yaml lacks %s", k.name)
			}
		}
	}
	check(root.Content[0], schema, nil)
}

func TestVariablesAndFlagsAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, l := range leaves() {
		for _, name := range []string{l.variable(), "--" + l.option()} {
			if other := seen[name]; other != "" {
				t.Errorf("%s stands for both %s and %s", name, other, l.path)
			}
			seen[name] = l.path
		}
	}
}
