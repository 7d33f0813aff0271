package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// disk is the part of the file system that a write goes through, step by step; a test fails it at every step.
type disk interface {
	create(path string, data []byte) error // makes a new file of mode 0600, with the data on the medium
	rename(from, to string) error
	syncDir(path string) error
	remove(path string) error
}

// replace puts data at path: after a crash at any moment the file is the old one or the new one, whole.
func replace(d disk, path string, data []byte) error {
	tmp := path + ".tmp"
	if err := d.remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := d.create(tmp, data); err != nil {
		_ = d.remove(tmp) // the error that counts is the first
		return err
	}
	if err := d.rename(tmp, path); err != nil {
		_ = d.remove(tmp) // as above
		return err
	}
	return d.syncDir(filepath.Dir(path))
}

// system is the real one.
type system struct{}

func (system) create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	return err
}

func (system) rename(from, to string) error { return os.Rename(from, to) }
func (system) remove(path string) error     { return os.Remove(path) }

func (system) syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// read returns what is in the file at path, which nobody but its owner may have been able to write.
func read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, errors.New("is a symbolic link, need the file itself")
	}
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, bare(err)
	case info.IsDir():
		return nil, errors.New("is a directory, need a file")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Mode().Perm()&0o022 != 0:
		return nil, fmt.Errorf("file mode %04o: others may write it, need 0600", info.Mode().Perm())
	case info.Size() > maxFile:
		return nil, fmt.Errorf("is larger than %d MiB: %w", maxFile>>20, errDamaged)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	return data, bare(err)
}

// bare drops operation and path from an error, as the caller names the path itself.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
