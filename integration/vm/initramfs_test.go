package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Somebody else's cpio unpacks what we pack.
func TestArchiveIsCPIO(t *testing.T) {
	from := filepath.Join(t.TempDir(), "from")
	if err := os.WriteFile(from, []byte("odd"), 0o600); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	a := NewArchive(&archive)
	a.Dir("a")
	a.File("a/empty", 0o644, nil)
	a.CopyFile("/a/odd", 0o755, from)
	a.File("a/long-name-to-be-padded", 0o600, bytes.Repeat([]byte{7}, 1001))
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "busybox", "cpio", "-i", "-d")
	cmd.Dir, cmd.Stdin = dir, &archive
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	for name, want := range map[string]struct {
		size int64
		mode os.FileMode
	}{"empty": {0, 0o644}, "odd": {3, 0o755}, "long-name-to-be-padded": {1001, 0o600}} {
		info, err := os.Stat(filepath.Join(dir, "a", name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() != want.size || info.Mode().Perm() != want.mode {
			t.Errorf("%s: %d bytes, mode %v", name, info.Size(), info.Mode())
		}
	}

	bad := NewArchive(&archive)
	bad.CopyFile("x", 0o644, filepath.Join(dir, "no-such-file"))
	if bad.Close() == nil {
		t.Error("a file that is not there was archived")
	}
}
