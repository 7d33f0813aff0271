package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

func TestKeeperOutlivesItsDaemon(t *testing.T) {
	ns, dir := host(t), t.TempDir()
	first := started(t, ns, dir)
	if netns.Same(first.Namespace(), ns) {
		t.Fatal("the overlay is the host's own namespace")
	}
	lo, err := linksAt(t, first.Namespace()).LinkByName("lo")
	must(t, err)
	if lo.Attrs().Flags&net.FlagUp == 0 {
		t.Error("lo is down")
	}
	seen, err := netns.Open("/proc/" + strconv.Itoa(first.PID()) + "/ns/net")
	must(t, err)
	defer seen.Close()
	if !netns.Same(seen, first.Namespace()) {
		t.Error("the keeper's process is seen in another namespace than the overlay")
	}
	if session, err := unix.Getsid(first.PID()); err != nil || session != first.PID() {
		t.Errorf("session %d, %v: it would end with the daemon's terminal", session, err)
	}
	must(t, first.Close())

	second := started(t, ns, dir)
	if second.PID() != first.PID() || !netns.Same(second.Namespace(), seen) {
		t.Error("another keeper, or another namespace")
	}
	info, err := os.Stat(socketPath(dir))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v", info.Mode())
	}
}

// The keeper and its children are the daemon's children no more than they must be: killing it leaves them running.
func TestKilledDaemon(t *testing.T) {
	ns, dir, device := host(t), t.TempDir(), deviceName(t)
	cmd := exec.Command("/proc/self/exe", "test-daemon", dir, device)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, netns.Do(ns, cmd.Start))
	var keeper, child int
	_, err = fmt.Fscan(out, &keeper, &child)
	must(t, err)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	c := started(t, ns, dir)
	again, err := c.WireGuard(t.Context(), device, 1420, 0)
	must(t, err)
	if c.PID() != keeper || again != child {
		t.Errorf("keeper %d became %d, child %d became %d", keeper, c.PID(), child, again)
	}
}

// The socket is root's (or whoever runs the daemon), by its mode and, should somebody widen that, by who connects.
func TestOtherUserIsRefused(t *testing.T) {
	dir := t.TempDir()
	started(t, host(t), dir)
	must(t, os.Chmod(dir, 0o755))
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	const nobody = 65534
	connect := func() (r reply, err error) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			runtime.LockOSThread() // never unlocked: this thread alone becomes nobody, and ends
			if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); e != 0 {
				err = e
				return
			}
			var conn *net.UnixConn
			if conn, err = dial(dir); err != nil {
				return
			}
			defer conn.Close()
			if err = send(conn, request{Version: Version, ID: 1, Op: opStop}, nil); err == nil {
				_, err = receive(conn, &r)
			}
		}()
		<-done
		return r, err
	}
	if _, err := connect(); !errors.Is(err, unix.EACCES) {
		t.Errorf("got %v", err)
	}
	must(t, os.Chmod(socketPath(dir), 0o666))
	r, err := connect()
	must(t, err)
	if !strings.Contains(r.Error, "uid 65534") {
		t.Errorf("got %+v", r)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	ns, dir := host(t), t.TempDir()
	first := started(t, ns, dir)
	_, err := ensure(t, ns, dir)
	if err == nil || !strings.Contains(err.Error(), "pid "+strconv.Itoa(os.Getpid())) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("got %v", err)
	}
	if _, err := first.ask(t.Context(), request{Op: opNamespace}); err != nil {
		t.Errorf("the first one suffers: %v", err)
	}
}

func TestStop(t *testing.T) {
	for name, stop := range map[string]func(context.Context, *Client, string) error{
		"by the daemon":       func(ctx context.Context, c *Client, _ string) error { return c.Stop(ctx) },
		"without it":          func(ctx context.Context, c *Client, dir string) error { c.Close(); return Stop(ctx, dir) },
		"while it is running": func(ctx context.Context, _ *Client, dir string) error { return Stop(ctx, dir) },
	} {
		t.Run(name, func(t *testing.T) {
			ns, dir := host(t), t.TempDir()
			c := started(t, ns, dir)
			device := deviceName(t)
			child, err := c.WireGuard(t.Context(), device, 1420, 0)
			must(t, err)
			must(t, stop(t.Context(), c, dir))
			select {
			case <-c.Done():
			case <-time.After(5 * time.Second):
				t.Fatal("the client does not notice")
			}
			if name != "without it" { // then this process has let go of its child
				eventually(t, "no zombie keeper is left", func() bool { return !alive(c.PID()) })
			}
			eventually(t, "the child ends", func() bool { return !alive(child) })
			for _, path := range []string{socketPath(dir), "/var/run/wireguard/" + device + ".sock"} {
				if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%s is left over", path)
				}
			}
			if err := Stop(t.Context(), dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a second stop: %v", err)
			}
			if _, err := c.WireGuard(t.Context(), device, 1420, 0); err == nil {
				t.Error("a stopped keeper answers")
			}
		})
	}
}

// A killed keeper leaves a socket file, and takes its children with it.
func TestKilledKeeperIsReplaced(t *testing.T) {
	ns, dir := host(t), t.TempDir()
	first := started(t, ns, dir)
	child, err := first.WireGuard(t.Context(), deviceName(t), 1420, 0)
	must(t, err)
	must(t, unix.Kill(first.PID(), unix.SIGKILL))
	<-first.Done()
	eventually(t, "the child ends with its keeper", func() bool { return !alive(child) })
	if _, err := os.Stat(socketPath(dir)); err != nil {
		t.Fatal("the test wants a socket that is left over")
	}
	second := started(t, ns, dir)
	if second.PID() == first.PID() {
		t.Error("the same keeper")
	}
}

func TestOtherProtocolVersionIsRefused(t *testing.T) {
	dir := t.TempDir()
	c := started(t, host(t), dir)
	conn, err := dial(dir)
	must(t, err)
	defer conn.Close()
	must(t, send(conn, request{Version: Version + 1, ID: 5, Op: opAttach}, nil))
	var r reply
	_, err = receive(conn, &r)
	must(t, err)
	if r.ID != 5 || !strings.Contains(r.Error, strconv.Itoa(c.PID())) || !strings.Contains(r.Error, "protocol 1, this program 2") {
		t.Errorf("got %+v", r)
	}
}

// Garbage ends a connection and nothing else.
func TestGarbageOnTheSocket(t *testing.T) {
	dir := t.TempDir()
	c := started(t, host(t), dir)
	for name, message := range map[string]string{
		"no JSON": "hello", "an array": "[]", "too long": `{"name":"` + strings.Repeat("x", maxMessage) + `"}`,
		"unknown request": `{"version":1,"id":1,"op":"dance"}`, "not attached": `{"version":1,"id":1,"op":"namespace"}`,
	} {
		conn, err := dial(dir)
		must(t, err)
		_, err = conn.Write([]byte(message))
		must(t, err)
		must(t, conn.SetReadDeadline(time.Now().Add(5*time.Second)))
		var r reply
		if file, err := receive(conn, &r); err == nil && r.Error == "" || file != nil {
			t.Errorf("%s: answered %+v", name, r)
		}
		conn.Close()
	}
	for _, name := range []string{"", "../etc", "a b", strings.Repeat("n", 16)} {
		if _, err := c.WireGuard(t.Context(), name, 1420, 0); err == nil {
			t.Errorf("a device called %q was made", name)
		}
	}
	if _, err := c.WireGuard(t.Context(), deviceName(t), 1420, 0); err != nil {
		t.Errorf("the keeper suffers: %v", err)
	}
}

func TestEnsureSaysWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for dir, says := range map[string]string{
		"/nonexistent/run":                     "no such file",
		file:                                   "not a directory",
		t.TempDir() + strings.Repeat("/x", 60): "have a path of",
	} {
		_, err := Ensure(t.Context(), Options{RunDir: dir, Logger: nil})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want %q", dir, err, says)
		}
	}
	ns, dir := host(t), t.TempDir()
	lock, err := lockRunDir(dir)
	must(t, err)
	defer lock.Close()
	if _, err = ensure(t, ns, dir); err == nil || !strings.Contains(err.Error(), "another keeper (pid "+strconv.Itoa(os.Getpid())) {
		t.Errorf("got %v", err)
	}
	if err := Main(t.Context(), nil); err == nil {
		t.Error("the keeper runs by hand")
	}
}

// Nobody reads a key in the process list: there are none in arguments, and the environment is empty.
func TestArgumentsAndEnvironmentHoldNothing(t *testing.T) {
	dir := t.TempDir()
	c := started(t, host(t), dir)
	device := deviceName(t)
	child, err := c.WireGuard(t.Context(), device, 1420, 1)
	must(t, err)
	for pid, want := range map[int]string{
		c.PID(): "keeper --run-dir " + dir + " --node 0badcafe",
		child:   "wireguard --mtu 1420 --procs 1 " + device,
	} {
		line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		must(t, err)
		arguments := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		if got := strings.Join(arguments[1:], " "); got != want {
			t.Errorf("arguments %q, want %q", got, want)
		}
		environment, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
		must(t, err)
		if len(environment) > 0 {
			t.Errorf("environment %q", environment)
		}
	}
}

// A keeper runs for months: daemons and devices that come and go leave no descriptor in it.
func TestComingAndGoingLeavesNothingInTheKeeper(t *testing.T) {
	ns, dir, name := host(t), t.TempDir(), deviceName(t)
	c := started(t, ns, dir)
	files := func() int {
		entries, err := os.ReadDir("/proc/" + strconv.Itoa(c.PID()) + "/fd")
		must(t, err)
		return len(entries)
	}
	cycle := func() {
		pid, err := c.WireGuard(t.Context(), name, 1420, 0)
		must(t, err)
		must(t, unix.Kill(pid, unix.SIGKILL))
		event(t, c)
		must(t, c.Drop(t.Context(), name))
		must(t, c.Close())
		c = started(t, ns, dir)
	}
	cycle()
	before := files()
	for range 5 {
		cycle()
	}
	eventually(t, "as many descriptors as before", func() bool { return files() <= before })
}
