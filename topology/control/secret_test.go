package control

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGeneratedSecret(t *testing.T) {
	a, b := GenerateSecret(), GenerateSecret()
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(a, "wwg1-"))
	if err != nil || len(raw) != 32 || a == b || !strings.HasPrefix(a, "wwg1-") {
		t.Fatalf("%q %q %v", a, b, err)
	}
	path := filepath.Join(t.TempDir(), "home.secret")
	if err := CreateSecret(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	if s, err := LoadSecrets(path); err != nil || len(s.lines) != 1 {
		t.Fatalf("%v %v", s, err)
	}
	if err := CreateSecret(path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second create: %v", err)
	}
}

func TestSecretFile(t *testing.T) {
	long := strings.Repeat("abcdefgh", maxSecretLine/8)
	many := strings.Repeat(secretA+"\n", maxSecrets)
	for _, c := range []struct {
		name, text string
		lines      int
		want       string
	}{
		{"one", secretA, 1, ""},
		{"several with comments", "# new\n" + secretA + "\r\n\n  " + secretB + "  \n", 2, ""},
		{"own words", "correct-horse-battery-staple", 1, ""},
		{"longest", long, 1, ""},
		{"sixteen", many, 16, ""},
		{"seventeen", many + secretA, 0, "line 17: more than 16 secrets"},
		{"too long", long + "x", 0, "line 1: longer than 512 characters"},
		{"too short", "# x\nhunter2", 0, "line 2: too short to be safe"},
		{"one key held down", strings.Repeat("a", 40), 0, "line 1: too simple to be safe"},
		{"two keys, prefixed", "wwg1-" + strings.Repeat("ab", 20), 0, "line 1: too simple to be safe"},
		{"prefix does not count", "wwg1-" + strings.Repeat("a", 21), 0, "too short"},
		{"spaces", "correct horse battery staple", 0, "line 1: a secret has no spaces"},
		{"only comments", "# nothing\n\n", 0, "holds no secret"},
		{"binary", "\xff\xfe" + secretA, 0, "is not UTF-8 text"},
		{"NUL", secretA + "\x00", 0, "is not UTF-8 text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := LoadSecrets(path)
			if c.want == "" {
				if err != nil || len(s.lines) != c.lines {
					t.Fatalf("%v, %v", s, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "secret_file "+path) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			for line := range strings.Lines(c.text) {
				if line = strings.TrimSpace(line); len(line) > 6 && line[0] != '#' && strings.Contains(err.Error(), line) {
					t.Fatalf("the error shows the secret: %v", err)
				}
			}
		})
	}
	dir := t.TempDir()
	missing := filepath.Join(dir, "home.secret")
	want := "secret_file " + missing + " not found; make one: weavewg secret generate -o " + missing
	if _, err := LoadSecrets(missing); err == nil || err.Error() != want {
		t.Fatalf("got %v", err)
	}
	open := filepath.Join(dir, "open.secret")
	if err := errors.Join(os.WriteFile(open, []byte(secretA), 0o600), os.Chmod(open, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSecrets(open); err == nil || err.Error() != "secret_file "+open+": file mode 0644, need 0600" {
		t.Fatalf("got %v", err)
	}
}

func TestDerivedKeysDiffer(t *testing.T) {
	var keys [][]byte
	for _, mesh := range []string{"home", "work"} {
		all, err := parseSecrets(t, secretA, secretB).derive(mesh)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range all {
			keys = append(keys, k.knock, k.proof, k.member)
		}
	}
	for i, a := range keys {
		for _, b := range keys[:i] {
			if len(a) != 32 || bytes.Equal(a, b) {
				t.Fatal("two purposes, secrets or meshes have the same key")
			}
		}
	}
}

func FuzzSecrets(f *testing.F) {
	for _, seed := range []string{"", secretA, "# x\n" + secretA + "\n" + secretB, "short", "\xff", strings.Repeat("\n", 99), "a b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := ParseSecrets(data)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		if len(s.lines) == 0 || len(s.lines) > maxSecrets {
			t.Fatalf("%d secrets", len(s.lines))
		}
		if again, err := ParseSecrets([]byte(strings.Join(s.lines, "\n"))); err != nil || len(again.lines) != len(s.lines) {
			t.Fatalf("does not survive writing: %v", err)
		}
	})
}
