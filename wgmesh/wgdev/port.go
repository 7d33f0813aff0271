package wgdev

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckPort returns an error that names the holder if a port ("tcp" or "udp") cannot be bound on all addresses of the
// calling thread's network namespace. Ask before making something that binds it; our own devices hold theirs.
func CheckPort(proto string, port uint16) error {
	address := ":" + strconv.Itoa(int(port))
	var errs [2]error
	for i, version := range []string{"4", "6"} {
		var c io.Closer
		var err error
		if proto == "tcp" {
			c, err = net.Listen(proto+version, address)
		} else {
			c, err = net.ListenPacket(proto+version, address)
		}
		if err == nil {
			c.Close()
		}
		if errors.Is(err, unix.EADDRINUSE) {
			return PortTaken(proto, port)
		}
		errs[i] = err
	}
	if errs[0] != nil && errs[1] != nil { // a host without one of the two is fine
		return fmt.Errorf("port %d/%s: %w", port, proto, errs[0])
	}
	return nil
}

// PortTaken is the error for a port that something else holds.
func PortTaken(proto string, port uint16) error {
	return fmt.Errorf("port %d/%s is taken by %s: set listen.port", port, proto, WhoHas(proto, port))
}

// WhoHas names the process that holds a port ("udp", or "tcp" for a listener) of the calling thread's network
// namespace, such as "weaver (pid 812)".
func WhoHas(proto string, port uint16) string {
	inodes := map[string]bool{}
	for _, table := range []string{proto, proto + "6"} {
		f, err := os.Open("/proc/thread-self/net/" + table)
		if err != nil {
			continue
		}
		collect(f, proto, port, inodes)
		f.Close()
	}
	if inodes["0"] && len(inodes) == 1 {
		return "the kernel (a tunnel or WireGuard device)"
	}
	sockets, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*") // the pattern is well formed
	for _, path := range sockets {
		target, err := os.Readlink(path)
		if err != nil {
			continue // the process ended, or is not ours to see
		}
		inode, isSocket := strings.CutPrefix(target, "socket:[")
		if isSocket && inodes[strings.TrimSuffix(inode, "]")] {
			pid := strings.Split(path, "/")[2]
			return processName(pid) + " (pid " + pid + ")"
		}
	}
	return "another process"
}

// collect adds the inodes of the sockets that are bound to a port, from a table as in proc(5), /proc/net/tcp.
func collect(table io.Reader, proto string, port uint16, inodes map[string]bool) {
	const listening = "0A" // TCP_LISTEN of linux/tcp_states.h
	suffix := fmt.Sprintf(":%04X", port)
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && (proto != "tcp" || fields[3] == listening) {
			inodes[fields[9]] = true
		}
	}
}

func processName(pid string) string {
	comm, err := os.ReadFile("/proc/" + pid + "/comm")
	if err != nil {
		return "a process"
	}
	return strings.TrimSpace(string(comm))
}
