package api

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Socket is the listening API socket; Close removes its file, unless somebody put another in its place.
type Socket struct {
	net.Listener
	path  string
	inode uint64
}

// Listen makes the socket at path, mode 0660 and of the group, or 0600 where the host has no such group. A socket that
// nobody serves any more is replaced; one that is served is an error that names the process.
func Listen(path, group string) (*Socket, error) {
	dir := filepath.Dir(path)
	if err := ownDirectory(dir); err != nil {
		return nil, err
	}
	if err := vacant(path); err != nil {
		return nil, err
	}
	// Made in a folder of its own and moved once its rights are right: nobody can connect before, and a link planted
	// at path is replaced, not followed.
	private, err := os.MkdirTemp(dir, ".a")
	if err != nil {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	defer os.RemoveAll(private)
	tmp := filepath.Join(private, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := permit(tmp, group); err != nil {
		l.Close()
		return nil, fmt.Errorf("API socket: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		l.Close()
		return nil, fmt.Errorf("API socket: %w", err)
	}
	return &Socket{Listener: l, path: path, inode: inode(path)}, nil
}

// Close stops listening and removes the file.
func (s *Socket) Close() error {
	err := s.Listener.Close()
	if n := inode(s.path); n != 0 && n == s.inode {
		err = errors.Join(err, os.Remove(s.path))
	}
	return err
}

// ownDirectory makes the folder of the socket, and refuses one in which others could replace it.
func ownDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("run_dir: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return fmt.Errorf("run_dir %s: %w", dir, err)
	}
	if st.Mode&0o022 != 0 {
		return fmt.Errorf("run_dir %s: file mode %04o: others could replace the socket; need 0755", dir, st.Mode&0o7777)
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("run_dir %s belongs to uid %d, who could replace the socket", dir, st.Uid)
	}
	return nil
}

// vacant checks that nobody serves path and that nothing but a socket is there.
func vacant(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("API socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket: remove it", path)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err != nil {
		return nil // left behind: whoever made it is gone
	}
	defer conn.Close()
	return fmt.Errorf("weavewg is running already%s at %s", servedBy(conn), path)
}

// servedBy names the process at the other end of a unix socket, as " (pid 7)".
func servedBy(conn net.Conn) string {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return ""
	}
	text := ""
	err = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			text = fmt.Sprintf(" (pid %d)", cred.Pid)
		}
	})
	if err != nil {
		return ""
	}
	return text
}

// permit sets the rights of the socket.
func permit(path, group string) error {
	if group == "" {
		return os.Chmod(path, 0o600)
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return os.Chmod(path, 0o600) // no such group here: root only
	}
	gid, err := strconv.Atoi(g.Gid)
	if err != nil {
		return fmt.Errorf("group %s: %w", group, err)
	}
	if err := os.Chown(path, -1, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

func inode(path string) uint64 {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return 0
	}
	return st.Ino
}
