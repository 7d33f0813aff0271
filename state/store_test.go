package state

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

type core struct {
	Epoch uint64 `json:"epoch"`
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	s := open(t, dir)
	c := core{Epoch: 7}
	if err := s.Core(&c); err != nil || c.Epoch != 7 || s.Attachments() != nil {
		t.Fatalf("a new state has %v, %v, %v", c, s.Attachments(), err)
	}
	attachments := []Attachment{{Kind: Container, Target: "4f2a", Name: "web", Network: "default", Interface: "ethwe", MAC: "02:00:00:00:00:01", Addresses: []string{"10.32.1.1/12"}}}
	if err := errors.Join(s.SetCore(core{Epoch: 8}), s.SetAttachments(attachments)); err != nil {
		t.Fatal(err)
	}
	attachments[0].Addresses[0] = "changed by the caller"
	s.Close()

	s = open(t, dir)
	if err := s.Core(&c); err != nil || c.Epoch != 8 {
		t.Errorf("core %v, %v", c, err)
	}
	attachments[0].Addresses[0] = "10.32.1.1/12"
	if d := cmp.Diff(attachments, s.Attachments()); d != "" {
		t.Error(d)
	}
	for path, want := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, File(dir): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
	}
	if err := s.Purge(); err != nil || s.Attachments() != nil {
		t.Errorf("purge: %v", err)
	}
	if _, err := os.Stat(File(dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestTwoDaemonsAreRefused(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	want := fmt.Sprintf("state_dir %s is in use by another weavewg (pid %d): give each node its own state_dir", dir, os.Getpid())
	if _, err := Open(dir); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	first.Close()
	open(t, dir)
}

// TestBadState has every file that is refused; each must stay as it is.
func TestBadState(t *testing.T) {
	good, err := encode(body{Core: []byte(`{"epoch":3}`)})
	if err != nil {
		t.Fatal(err)
	}
	const damaged = "damaged: restore it from a backup, or remove it (targets of connect and attachments are lost, the identity is kept)"
	for name, c := range map[string]struct{ content, want string }{
		"empty":        {"", "empty: " + damaged},
		"zeroed":       {string(make([]byte, 512)), "not JSON: " + damaged},
		"flipped bit":  {strings.Replace(string(good), `"epoch":3`, `"epoch":2`, 1), "checksum does not match: " + damaged},
		"truncated":    {string(good[:len(good)/2]), "not JSON: " + damaged},
		"not JSON":     {"hello\n", "not JSON: " + damaged},
		"other JSON":   {`{"a": 1}`, "no version: " + damaged},
		"future":       {`{"version": 9, "sha256": "", "body": {}}`, "state v9 is newer than this build (v1): use the newer weavewg, or remove the file"},
		"wrong within": {string(mustEnvelope(t, `{"attachments": 7}`)), "unexpected content: " + damaged},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(File(dir), []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir)
			if want := File(dir) + ": " + c.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if now, err := os.ReadFile(File(dir)); err != nil || string(now) != c.content {
				t.Errorf("the file was changed: %q, %v", now, err)
			}
		})
	}
}

func mustEnvelope(t *testing.T, inner string) []byte {
	t.Helper()
	b, err := encode(body{})
	if err != nil {
		t.Fatal(err)
	}
	old := `{"attachments":null}`
	b = bytes.Replace(b, []byte(old), []byte(inner), 1)
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(inner)))
	return bytes.Replace(b, []byte(fmt.Sprintf("%x", sha256.Sum256([]byte(old)))), []byte(sum), 1)
}

func TestNotAFile(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"directory":     {func(p string) error { return os.Mkdir(p, 0o700) }, "is a directory, need a file"},
		"symbolic link": {func(p string) error { return os.Symlink("/etc/passwd", p) }, "is a symbolic link, need the file itself"},
		"pipe":          {func(p string) error { return unix.Mkfifo(p, 0o600) }, "is not a regular file"},
		"writable": {func(p string) error {
			return errors.Join(os.WriteFile(p, []byte("{}"), 0o600), os.Chmod(p, 0o666))
		}, "file mode 0666: others may write it, need 0600"},
	} {
		dir := t.TempDir()
		if err := c.make(File(dir)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || err.Error() != File(dir)+": "+c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file); err == nil || err.Error() != "state_dir: "+file+": not a directory" {
		t.Errorf("state_dir is a file: %v", err)
	}
}

// crashing is a disk that dies at one step: a create leaves only half of the data, other steps do nothing, and
// everything after fails.
type crashing struct {
	real  system
	steps int // that still work
	err   error
}

func (c *crashing) step() bool { c.steps--; return c.steps >= 0 }

func (c *crashing) create(path string, data []byte) error {
	if c.step() {
		return c.real.create(path, data)
	}
	if c.steps == -1 {
		_ = c.real.create(path, data[:len(data)/2])
	}
	return c.err
}

func (c *crashing) rename(from, to string) error {
	if c.step() {
		return c.real.rename(from, to)
	}
	return c.err
}

func (c *crashing) syncDir(path string) error {
	if c.step() {
		return c.real.syncDir(path)
	}
	return c.err
}

func (c *crashing) remove(path string) error {
	if c.step() {
		return c.real.remove(path)
	}
	return c.err
}

// TestCrashAtEveryStep wants the old or the new state after each, and a Store that agrees with a failed write.
func TestCrashAtEveryStep(t *testing.T) {
	sawOld, sawNew := false, false
	for steps := 0; ; steps++ {
		dir := t.TempDir()
		s := open(t, dir)
		if err := s.SetCore(core{Epoch: 1}); err != nil {
			t.Fatal(err)
		}
		d := &crashing{steps: steps, err: unix.ENOSPC}
		s.disk = d
		err := s.SetCore(core{Epoch: 2})
		var held core
		if e := s.Core(&held); e != nil {
			t.Fatal(e)
		}
		if err != nil && (held.Epoch != 1 || err.Error() != "write "+File(dir)+": no space left on device") {
			t.Errorf("after %d steps the Store has %v, error %v", steps, held, err)
		}
		s.Close()
		var found core
		if err := open(t, dir).Core(&found); err != nil || found.Epoch != 1 && found.Epoch != 2 {
			t.Fatalf("after %d steps: %v, %v", steps, found, err)
		}
		sawOld, sawNew = sawOld || found.Epoch == 1, sawNew || found.Epoch == 2
		if err == nil {
			break
		}
	}
	if !sawOld || !sawNew {
		t.Error("no step was crossed")
	}
}

// TestTheDataIsOnTheMediumBeforeTheName holds the order that survives a loss of power.
func TestTheDataIsOnTheMediumBeforeTheName(t *testing.T) {
	r := &recording{}
	if err := replace(r, "/d/state.json", []byte("x")); err != nil {
		t.Fatal(err)
	}
	want := []string{"remove /d/state.json.tmp", "create and sync /d/state.json.tmp", "rename /d/state.json.tmp /d/state.json", "sync /d"}
	if d := cmp.Diff(want, r.steps); d != "" {
		t.Error(d)
	}
}

type recording struct{ steps []string }

func (r *recording) create(path string, _ []byte) error {
	r.steps = append(r.steps, "create and sync "+path)
	return nil
}
func (r *recording) rename(from, to string) error {
	r.steps = append(r.steps, "rename "+from+" "+to)
	return nil
}
func (r *recording) syncDir(path string) error { r.steps = append(r.steps, "sync "+path); return nil }
func (r *recording) remove(path string) error  { r.steps = append(r.steps, "remove "+path); return nil }

// TestDiskFull writes to a real file system with no room.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		t.Fatalf("this test needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s := open(t, dir)
	if err := s.SetCore(core{Epoch: 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetCore(strings.Repeat("x", 100_000)); err == nil || err.Error() != "write "+File(dir)+": no space left on device" {
		t.Errorf("full: %v", err)
	}
	if err := s.SetCore(core{Epoch: 2}); err != nil {
		t.Errorf("a smaller state has room: %v", err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		// The lock is open for writing: take a read-only view through the directory's mode instead of the mount's.
		s.Close()
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); err == nil || !strings.HasSuffix(err.Error(), "read-only file system") {
			t.Errorf("open on a read-only file system: %v", err)
		}
		return
	}
	if err := s.SetCore(core{Epoch: 3}); err == nil || !strings.HasSuffix(err.Error(), "read-only file system") {
		t.Errorf("read-only: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	good, err := encode(body{Core: []byte(`{"epoch":3}`)})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":1,"body":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := decode(data)
		if err != nil {
			return
		}
		again, err := encode(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(again); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}
