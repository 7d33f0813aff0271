package weavewg

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/weavewg/weavewg/"

// layer says what a package is allowed to know: the table of ARCHITECTURE.md.
type layer struct {
	core    bool     // pure: see forbiddenInCores
	imports []string // packages of ours; a trailing /... takes the folders below, "..." everything
	except  string   // one file of a core that may touch the system
}

var layers = map[string]layer{
	".":                           {},
	"topology":                    {core: true},
	"learner":                     {core: true, imports: []string{"topology"}},
	"l2bridge":                    {core: true, imports: []string{"topology", "learner"}},
	"wgmesh":                      {core: true, imports: []string{"topology", "learner", "l2bridge"}},
	"config":                      {core: true, imports: []string{"topology"}, except: "load.go"},
	"state":                       {},
	"topology/control":            {imports: []string{"topology"}},
	"l2bridge/netns":              {},
	"l2bridge/capture":            {imports: []string{"l2bridge", "l2bridge/netns"}},
	"l2bridge/datapath":           {imports: []string{"l2bridge", "learner", "topology", "l2bridge/capture", "l2bridge/netns"}},
	"l2bridge/rtnl":               {imports: []string{"l2bridge", "l2bridge/netns"}},
	"wgmesh/scout":                {core: true},
	"wgmesh/relay":                {core: true, imports: []string{"topology", "wgmesh/scout"}},
	"wgmesh/forwarder":            {imports: []string{"topology", "wgmesh/relay", "wgmesh/scout"}},
	"wgmesh/rawudp":               {},
	"wgmesh/carrier":              {},
	"wgmesh/keeper":               {imports: []string{"wgmesh", "l2bridge/netns"}},
	"wgmesh/wgdev":                {imports: []string{"wgmesh", "wgmesh/keeper", "l2bridge/netns"}},
	"wgmesh/node":                 {imports: []string{"topology/...", "learner", "l2bridge/...", "wgmesh/...", "config", "state", "services/..."}},
	"services/api":                {imports: []string{"topology"}},
	"services/docker":             {},
	"services/metrics":            {imports: []string{"services/api"}},
	"services/doctor":             {},
	"cmd/weavewg":                 {imports: []string{"..."}},
	"integration/lab":             {},
	"integration/sim":             {imports: []string{"topology", "wgmesh"}},
	"integration/scenarios":       {imports: []string{"integration/lab", "services/api"}},
	"integration/scenarios/probe": {imports: []string{"integration/lab"}},
	"integration/vm":              {imports: []string{"integration/lab", "integration/vm/agent"}},
	"integration/vm/agent":        {},
	"integration/vm/init":         {imports: []string{"integration/vm/agent"}},
	"integration/vagrant":         {imports: []string{"integration/lab"}},
	"integration/bench":           {imports: []string{"integration/lab"}},
}

// forbiddenInCores are imports and calls that would make a decision depend on more than its arguments.
var forbiddenInCores = map[string]string{
	"net/http":               "a core has no socket",
	"os":                     "a core reads no file and no environment",
	"os/exec":                "a core starts nothing",
	"os/signal":              "signals belong to main",
	"syscall":                "the kernel belongs to the edges",
	"golang.org/x/sys/unix":  "the kernel belongs to the edges",
	"sync":                   "a core is called from one goroutine and takes no lock",
	"sync/atomic":            "a core is called from one goroutine",
	"context":                "a core does not wait, so there is nothing to cancel",
	"log":                    "a core returns what happened, its caller logs",
	"log/slog":               "a core returns what happened, its caller logs",
	"go.uber.org/zap":        "a core returns what happened, its caller logs",
	"github.com/spf13/viper": "only config/load.go reads files",
	"time.Now":               "time is an argument",
	"time.Since":             "time is an argument",
	"time.Until":             "time is an argument",
	"time.Sleep":             "a core does not wait",
	"time.After":             "a core does not wait",
	"time.AfterFunc":         "a core does not wait",
	"time.NewTimer":          "a core does not wait",
	"time.NewTicker":         "a core does not wait",
}

// netForCores are the parts of package net that only compute.
var netForCores = map[string]bool{
	"net.JoinHostPort": true, "net.SplitHostPort": true, "net.ParseMAC": true, "net.HardwareAddr": true,
}

type source struct {
	path string // slash-separated, from the module's root
	dir  string
	test bool
	file *ast.File
	set  *token.FileSet
	len  int // lines
}

func (s source) at(n ast.Node) string {
	return fmt.Sprintf("%s:%d", s.path, s.set.Position(n.Pos()).Line)
}

// sources parses every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if base := entry.Name(); base != "." && (strings.HasPrefix(base, ".") || base == "bin" || base == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		all = append(all, source{
			path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
			file: file, set: set, len: set.File(file.Pos()).LineCount(),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func imported(spec *ast.ImportSpec) string {
	name, _ := strconv.Unquote(spec.Path.Value) // the parser has accepted it
	return name
}

func (l layer) allows(pkg string) bool {
	return slices.ContainsFunc(l.imports, func(pattern string) bool {
		below, tree := strings.CutSuffix(pattern, "...")
		below = strings.TrimSuffix(below, "/")
		return pkg == pattern || tree && (below == "" || pkg == below || strings.HasPrefix(pkg, below+"/"))
	})
}

func TestImportsFollowTheTable(t *testing.T) {
	for _, s := range sources(t) {
		rule, listed := layers[s.dir]
		if !listed {
			t.Errorf("%s: package %s is not in the table of arch_test.go and ARCHITECTURE.md", s.path, s.dir)
			continue
		}
		if s.test {
			continue // a test may use what helps it
		}
		for _, spec := range s.file.Imports {
			own, ours := strings.CutPrefix(imported(spec), module)
			if ours && !rule.allows(own) {
				t.Errorf("%s: %s may import of ours only %v, not %s", s.at(spec), s.dir, rule.imports, own)
			}
		}
	}
}

func TestCoresArePure(t *testing.T) {
	for _, s := range sources(t) {
		rule := layers[s.dir]
		if !rule.core || s.test || path.Base(s.path) == rule.except {
			continue
		}
		for _, spec := range s.file.Imports {
			if why, bad := forbiddenInCores[imported(spec)]; bad {
				t.Errorf("%s: imports %s: %s", s.at(spec), imported(spec), why)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: starts a goroutine: only edges and shells do", s.at(n))
			case *ast.SelectorExpr:
				name := selector(n)
				if why, bad := forbiddenInCores[name]; bad {
					t.Errorf("%s: uses %s: %s", s.at(n), name, why)
				}
				if strings.HasPrefix(name, "net.") && !netForCores[name] {
					t.Errorf("%s: uses %s: a core has no socket; addresses are net/netip", s.at(n), name)
				}
			}
			return true
		})
	}
}

// selector returns "x.Name" where x is a plain name, else "".
func selector(n *ast.SelectorExpr) string {
	if x, ok := n.X.(*ast.Ident); ok {
		return x.Name + "." + n.Sel.Name
	}
	return ""
}

func TestOnePackageCommentInDocGo(t *testing.T) {
	commented := map[string]bool{}
	for _, s := range sources(t) {
		if s.test && strings.HasSuffix(s.file.Name.Name, "_test") {
			continue
		}
		commented[s.dir] = commented[s.dir] || false
		if s.file.Doc == nil {
			continue
		}
		if base := path.Base(s.path); base != "doc.go" && (base != "main.go" || s.file.Name.Name != "main") {
			t.Errorf("%s: the package comment belongs in doc.go", s.path)
		}
		if commented[s.dir] {
			t.Errorf("%s: the package has a second comment", s.path)
		}
		commented[s.dir] = true
	}
	for dir, ok := range commented {
		if !ok {
			t.Errorf("%s: no doc.go says in a sentence what the package is for", dir)
		}
	}
}

// Nothing but a main package ends the process: errors go up. A function must may panic, for what is constant: a test
// that loads the package would show it.
func TestOnlyMainEndsTheProcess(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if f, ok := n.(*ast.FuncDecl); ok && f.Name.Name == "must" {
				return false
			}
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			switch f := call.Fun.(type) {
			case *ast.Ident:
				if f.Name == "panic" {
					t.Errorf("%s: panics: return an error", s.at(n))
				}
			case *ast.SelectorExpr:
				if name := selector(f); name == "os.Exit" || strings.HasPrefix(name, "log.Fatal") || strings.HasPrefix(name, "log.Panic") {
					t.Errorf("%s: calls %s: return an error", s.at(n), name)
				}
			}
			return true
		})
	}
}

// A ring that cannot run fails, and nothing sleeps to wait: tests wait for a condition, or use virtual time.
func TestTestsNeitherSkipNorSleep(t *testing.T) {
	for _, s := range sources(t) {
		if !s.test && !strings.HasPrefix(s.dir, "integration/") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch name := selector(f); {
			case name == "time.Sleep":
				t.Errorf("%s: sleeps: wait for a condition", s.at(n))
			case slices.Contains([]string{"t.Skip", "t.Skipf", "t.SkipNow", "b.Skip", "b.Skipf", "b.SkipNow", "tb.Skip", "tb.Skipf", "tb.SkipNow"}, name):
				t.Errorf("%s: skips: a test that cannot run fails", s.at(n))
			}
			return true
		})
	}
}

func TestFilesHoldOneConcept(t *testing.T) {
	const most = 500
	for _, s := range sources(t) {
		if s.len > most {
			t.Errorf("%s has %d lines; above %d, ask which second concept moved in", s.path, s.len, most)
		}
	}
}
