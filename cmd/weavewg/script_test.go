package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary the weavewg of the scripts: it runs main when it is called by that name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weavewg": main})
}

// TestScripts runs the commands that need no daemon as a user types them. HOME and the working directory are the
// script's; `code N` states the exit code of the command before, which `! exec` alone would not tell.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("WEAVEWG_NODE_NAME", "alpha")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": exitsWith, "mode": hasMode, "gone": isGone},
	})
}

// exitsWith runs a command and wants its exit code: code 2 weavewg frobnicate.
func exitsWith(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec("sh", append([]string{"-c", `want=$1; shift; "$@"; got=$?; test $got = $want || { echo "exit code $got, want $want" >&2; exit 1; }`, "sh"}, args...)...)
	ts.Check(err)
}

// hasMode wants the mode of a file: mode 600 home.secret.
func hasMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := info.Mode().Perm().String(); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// isGone wants that a file is not there.
func isGone(ts *testscript.TestScript, _ bool, args []string) {
	if _, err := os.Lstat(ts.MkAbs(args[0])); !os.IsNotExist(err) {
		ts.Fatalf("%s is there (%v)", args[0], err)
	}
}
