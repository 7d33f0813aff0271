package weavewg

import (
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// Links between our own pages lead somewhere.
func TestLinksLeadSomewhere(t *testing.T) {
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && name != "." {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(name, ".md") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, link := range markdownLink.FindAllStringSubmatch(string(text), -1) {
			target, _, _ := strings.Cut(link[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), target)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var documentedCode = regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|")

// Every code of a problem is in docs/problems.md, and every code there is one that the daemon can state.
func TestProblemCodesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("docs/problems.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range documentedCode.FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = true
	}
	stated := map[string]bool{}
	for _, s := range sources(t) {
		if s.dir != "wgmesh/node" || s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if code, ok := problemCode(n); ok {
				stated[code] = true
				if !documented[code] {
					t.Errorf("%s: problem %q is not in docs/problems.md", s.at(n), code)
				}
			}
			return true
		})
	}
	for code := range documented {
		if !stated[code] {
			t.Errorf("docs/problems.md: nothing in wgmesh/node states %q", code)
		}
	}
}

// problemCode recognizes problems.set(code, subject, severity, message, hint), problems.check(code, hint, err) and
// problems.replace(code, problems).
func problemCode(n ast.Node) (string, bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return "", false
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || (method.Sel.Name != "set" || len(call.Args) != 5) && (method.Sel.Name != "check" || len(call.Args) != 3) &&
		(method.Sel.Name != "replace" || len(call.Args) != 2) {
		return "", false
	}
	code, ok := call.Args[0].(*ast.BasicLit)
	if !ok || code.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(code.Value)
	return text, err == nil
}
