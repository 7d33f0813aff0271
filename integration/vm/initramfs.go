package vm

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Archive writes an initramfs: a cpio archive in the "new ASCII" format
// (Documentation/driver-api/early-userspace/buffer-format.rst), whose numbers are eight hex digits and whose names and
// contents are padded to four bytes.
type Archive struct {
	out   io.Writer
	inode int
	err   error
}

// NewArchive starts an archive.
func NewArchive(out io.Writer) *Archive { return &Archive{out: out} }

const (
	modeDir  = 0o040000
	modeFile = 0o100000
)

// Dir adds a folder.
func (a *Archive) Dir(name string) { a.entry(name, modeDir|0o755, nil) }

// File adds a file.
func (a *Archive) File(name string, perm os.FileMode, data []byte) {
	a.entry(name, modeFile|uint32(perm.Perm()), data)
}

// CopyFile adds a file with the contents of one here.
func (a *Archive) CopyFile(name string, perm os.FileMode, from string) {
	data, err := os.ReadFile(from)
	if a.err == nil {
		a.err = err
	}
	a.File(name, perm, data)
}

// Close ends the archive and returns the first error of all that was written.
func (a *Archive) Close() error {
	a.entry("TRAILER!!!", 0, nil)
	return a.err
}

func (a *Archive) entry(name string, mode uint32, data []byte) {
	if a.err != nil {
		return
	}
	a.inode++
	links, name := 1, strings.TrimPrefix(name, "/")
	if mode&modeDir != 0 {
		links = 2
	}
	header := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	for _, part := range []string{header, padding(len(header)), string(data), padding(len(data))} {
		if _, err := io.WriteString(a.out, part); err != nil {
			a.err = err
			return
		}
	}
}

func padding(length int) string { return "\x00\x00\x00"[:(4-length%4)%4] }

// writeInitramfs puts init and the modules, in the order in which they are to be loaded, into an archive.
func writeInitramfs(out io.Writer, init string, modules []string) error {
	a := NewArchive(out)
	for _, dir := range []string{"dev", "proc", "sys", "root", "modules"} {
		a.Dir(dir)
	}
	a.CopyFile("init", 0o755, init)
	var order strings.Builder
	for _, path := range modules {
		base := filepath.Base(path)
		a.CopyFile("modules/"+base, 0o644, path)
		fmt.Fprintln(&order, base)
	}
	a.File("modules/order", 0o644, []byte(order.String()))
	return a.Close()
}
