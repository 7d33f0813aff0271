package control

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// readPrivate returns what is in a file that only its owner may read: a regular file of mode 0600 (or 0400) that
// belongs to this user or to root, of at most limit bytes. Links are not followed, so that nobody who can write the
// folder redirects us.
func readPrivate(path string, limit int64) ([]byte, error) {
	// O_NONBLOCK: opening a named pipe must not wait for its other end.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%s: is a symbolic link, need the file itself", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, bare(err))
	}
	defer func() { _ = f.Close() }() // nothing was written

	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	switch mode, uid := st.Mode&0o7777, os.Geteuid(); {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return nil, fmt.Errorf("%s: is a directory, need a file", path)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, fmt.Errorf("%s: is not a regular file", path)
	case mode&^0o600 != 0:
		return nil, fmt.Errorf("%s: file mode %04o, need 0600", path, mode)
	case st.Uid != 0 && int(st.Uid) != uid:
		return nil, fmt.Errorf("%s: belongs to uid %d, need %d", path, st.Uid, uid)
	case st.Size == 0:
		return nil, fmt.Errorf("%s: is empty", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, bare(err))
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: is larger than %d bytes", path, limit)
	}
	return data, nil
}

// createPrivate makes a file of mode 0600 with data in it. The file appears whole or not at all, and one that is
// already there is never replaced: then the error is fs.ErrExist.
func createPrivate(path string, data []byte) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return fmt.Errorf("%s: %w", path, bare(err))
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	if closing := tmp.Close(); err == nil {
		err = closing
	}
	if err == nil {
		err = os.Link(tmp.Name(), path) // unlike rename, refuses to replace
	}
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w; nothing was overwritten", path, fs.ErrExist)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, bare(err))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("%s: %w", path, bare(err))
	}
	defer func() { _ = dir.Close() }()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("%s: %w", path, bare(err))
	}
	return nil
}

// bare drops operation and path from an error, as the caller names the path itself.
func bare(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	if link, ok := errors.AsType[*os.LinkError](err); ok {
		return link.Err
	}
	return err
}
