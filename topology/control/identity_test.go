package control

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/topology"
)

func TestIdentityIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.pem")
	made, err := CreateIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
	loaded, err := LoadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	public := made.Public()
	if loaded.ID() != made.ID() || loaded.Public() != public || made.ID() != topology.IDOf(public[:]) {
		t.Fatal("another identity came back")
	}
	before, _ := os.ReadFile(path)
	if _, err := CreateIdentity(path); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), "nothing was overwritten") {
		t.Fatalf("second create: %v", err)
	}
	if after, _ := os.ReadFile(path); string(after) != string(before) {
		t.Fatal("create overwrote the identity")
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Fatalf("left over: %v", entries)
	}
}

func TestIdentityRefused(t *testing.T) {
	good, err := CreateIdentity(filepath.Join(t.TempDir(), "good"))
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKCS8PrivateKey(good.private)
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ecDER, _ := x509.MarshalPKCS8PrivateKey(ec)
	file := func(data []byte, mode fs.FileMode) func(string) error {
		return func(path string) error {
			return errors.Join(os.WriteFile(path, data, 0o600), os.Chmod(path, mode))
		}
	}
	for _, c := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"missing", func(string) error { return nil }, "no such file"},
		{"readable by all", file(text, 0o644), "file mode 0644, need 0600"},
		{"readable by the group", file(text, 0o640), "file mode 0640, need 0600"},
		{"setuid", file(text, 0o600|fs.ModeSetuid), "file mode 4600, need 0600"},
		{"of somebody else", func(p string) error {
			return errors.Join(file(text, 0o600)(p), os.Chown(p, 4711, 0))
		}, "belongs to uid 4711, need 0"},
		{"link", func(p string) error {
			return errors.Join(file(text, 0o600)(p+".real"), os.Symlink(p+".real", p))
		}, "is a symbolic link"},
		{"directory", func(p string) error { return os.Mkdir(p, 0o700) }, "is a directory"},
		{"pipe", func(p string) error { return unix.Mkfifo(p, 0o600) }, "is not a regular file"},
		{"empty", file(nil, 0o600), "is empty"},
		{"huge", file(make([]byte, 1<<20), 0o600), "is larger than 4096 bytes"},
		{"no PEM", file([]byte("hello"), 0o600), "holds no PEM block PRIVATE KEY"},
		{"flipped bit", file(append(text[:60:60], text[60]^1), 0o600), "identity: "},
		{"damaged", file(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der[:20]}), 0o600), "damaged key"},
		{"trailing", file(append(text[:len(text):len(text)], "x"...), 0o600), "has 1 bytes after the key"},
		{"other key", file(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: ecDER}), 0o600), "need an Ed25519 key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "identity")
			if err := c.make(path); err != nil {
				t.Fatal(err)
			}
			before, _ := os.Lstat(path)
			_, err := LoadIdentity(path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("not one line: %q", err)
			}
			after, _ := os.Lstat(path)
			if before != nil && (after == nil || !before.ModTime().Equal(after.ModTime()) || before.Size() != after.Size()) {
				t.Fatal("the file was changed")
			}
			if c.name == "missing" && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal("missing is not fs.ErrNotExist")
			}
		})
	}
}

func TestCreateIdentityWithoutRoom(t *testing.T) {
	if _, err := CreateIdentity(filepath.Join(t.TempDir(), "missing", "identity")); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	if _, err := CreateIdentity("/dev/full/identity"); err == nil {
		t.Fatal("created below a device")
	}
}

// TestNothingPrintsSecrets looks for the private parts in every usual way to print.
func TestNothingPrintsSecrets(t *testing.T) {
	identity := newIdentityT(t)
	secrets := parseSecrets(t, secretA, secretB)
	config := Config{Mesh: "home", Identity: identity, Secrets: secrets}
	var out strings.Builder
	for _, v := range []any{identity, secrets, *identity, *secrets, config, &config} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb, v)
		}
		if text, err := json.Marshal(map[string]any{"identity": identity, "secrets": secrets}); err != nil {
			t.Fatal(err)
		} else {
			out.Write(text)
		}
	}
	core, logged := observer.New(zap.DebugLevel)
	zap.New(core).Info("x", zap.Any("identity", identity), zap.Any("secrets", secrets), zap.Stringer("s", secrets))
	for _, e := range logged.All() {
		line, err := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()).EncodeEntry(e.Entry, e.Context)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString(line.String())
	}
	seed := identity.private.Seed()
	for _, private := range []string{
		secretA[5:], secretB[5:], hex.EncodeToString([]byte(secretA)), hex.EncodeToString(seed),
		base64.StdEncoding.EncodeToString(seed), fmt.Sprintf("%d", seed)[1:40], fmt.Sprintf("%#v", seed)[7:40],
	} {
		if strings.Contains(out.String(), private) {
			t.Errorf("printed %q", private)
		}
	}
	if !strings.Contains(out.String(), "2 secrets (hidden)") || !strings.Contains(out.String(), identity.ID().String()) {
		t.Error("printed nothing useful")
	}
}
