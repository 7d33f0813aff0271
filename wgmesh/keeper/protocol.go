package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Version of the protocol on the keeper's socket. A keeper outlives upgrades of the daemon, so both ends check it.
const Version = 1

// maxMessage bounds one message; the longest real one is an error line.
const maxMessage = 8192

// operation names a request. Only append.
type operation string

const (
	opAttach    operation = "attach"    // this connection is the daemon's: the only one that gets events
	opNamespace operation = "namespace" // answers with the overlay namespace's descriptor
	opWireGuard operation = "wireguard" // make or adopt a userspace device
	opDrop      operation = "drop"      // end a userspace device
	opStop      operation = "stop"      // end the children, then the keeper, and with it the namespace
)

// request is what a client sends: one JSON object per SOCK_SEQPACKET message.
type request struct {
	Version int       `json:"version"`
	ID      uint64    `json:"id"`
	Op      operation `json:"op"`
	Name    string    `json:"name,omitempty"`
	MTU     int       `json:"mtu,omitempty"`
	Procs   int       `json:"procs,omitempty"`
}

// reply answers the request of the same ID; ID 0 is an event that nobody asked for.
type reply struct {
	Version int    `json:"version"`
	ID      uint64 `json:"id"`
	Error   string `json:"error,omitempty"`
	PID     int    `json:"pid,omitempty"` // the keeper's (attach), a child's (wireguard)
	Event   *Event `json:"event,omitempty"`
}

// Event tells the daemon that a userspace device changed without being asked to.
type Event struct {
	Name string `json:"name"` // of the interface
	// PID of the child that replaced the dead one: it has the same interface, but knows neither key nor peers. Zero when
	// the interface itself is gone (somebody deleted it) or its child does not start; Reason says which.
	PID    int    `json:"pid"`
	Reason string `json:"reason"`
}

func socketPath(runDir string) string { return filepath.Join(runDir, "keeper.sock") }
func lockPath(runDir string) string   { return filepath.Join(runDir, "keeper.lock") }

// LogPath is where the keeper and its children write what went wrong; at most 1 MiB.
func LogPath(runDir string) string { return filepath.Join(runDir, "keeper.log") }

// send writes one message, and a descriptor with it if file is not nil.
func send(c *net.UnixConn, message any, file *os.File) error {
	data, err := json.Marshal(message)
	if err != nil {
		return err
	}
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	_, _, err = c.WriteMsgUnix(data, rights, nil)
	return err
}

// receive reads one message into message and returns the descriptor that came with it, or nil. A closed connection is
// io.EOF.
func receive(c *net.UnixConn, message any) (*os.File, error) {
	data, rights := make([]byte, maxMessage), make([]byte, unix.CmsgSpace(4))
	n, rightsLen, flags, _, err := c.ReadMsgUnix(data, rights)
	if err != nil {
		return nil, err
	}
	if n == 0 && rightsLen == 0 {
		return nil, io.EOF
	}
	file, err := descriptor(rights[:rightsLen])
	if err == nil && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		err = fmt.Errorf("a message of more than %d bytes", maxMessage)
	}
	if err == nil {
		err = json.Unmarshal(data[:n], message)
	}
	if err != nil && file != nil {
		err = errors.Join(err, file.Close())
		file = nil
	}
	return file, err
}

// descriptor takes the one descriptor out of control data (unix(7), SCM_RIGHTS).
func descriptor(control []byte) (*os.File, error) {
	if len(control) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	var fds []int // the buffer has room for one
	for _, m := range messages {
		if got, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	if len(fds) != 1 {
		return nil, fmt.Errorf("%d descriptors in one message", len(fds))
	}
	unix.CloseOnExec(fds[0])
	return os.NewFile(uintptr(fds[0]), "overlay namespace"), nil
}

// credentials of the process at the other end, as the kernel recorded them when it connected.
func credentials(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return cred, credErr
}
