package config

import (
	"os"
	"path/filepath"
	"testing"
)

// TestExamples parses every configuration that users are shown.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "examples", "*", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	meshes := map[string]map[string]bool{} // folder → meshes: the hosts of an example are in one
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Parse([]File{{Name: f, Data: data}}, Sources{Hostname: "host"})
		if err != nil {
			t.Error(err)
			continue
		}
		dir := filepath.Dir(f)
		if meshes[dir] == nil {
			meshes[dir] = map[string]bool{}
		}
		meshes[dir][c.Mesh] = true
		if want := filepath.Base(f); c.Node.Name+".yaml" != want {
			t.Errorf("%s is of node %s", f, c.Node.Name)
		}
	}
	for dir, names := range meshes {
		if len(names) != 1 {
			t.Errorf("%s has hosts of several meshes: %v", dir, names)
		}
	}
}
