package netns_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// fresh makes a namespace that lives as long as the descriptor.
func fresh(t *testing.T) *os.File {
	t.Helper()
	type answer struct {
		f   *os.File
		err error
	}
	made := make(chan answer)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread goes with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err != nil {
			made <- answer{err: err}
			return
		}
		f, err := netns.Own()
		made <- answer{f, err}
	}()
	a := <-made
	if a.err != nil {
		t.Fatal(a.err)
	}
	t.Cleanup(func() { a.f.Close() })
	return a.f
}

func interfaces(t *testing.T) string {
	t.Helper()
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return strings.Join(names, " ")
}

func TestDoEntersAndLeaves(t *testing.T) {
	ns := fresh(t)
	before := interfaces(t)
	sentinel := errors.New("from inside")
	for range 100 {
		err := netns.Do(ns, func() error {
			own, err := netns.Own()
			if err != nil {
				return err
			}
			defer own.Close()
			if !netns.Same(own, ns) {
				t.Error("the function did not run inside")
			}
			return sentinel
		})
		if !errors.Is(err, sentinel) {
			t.Fatalf("got %v, want what the function returned", err)
		}
	}
	if after := interfaces(t); after != before {
		t.Errorf("outside there was %q, now %q", before, after)
	}
}

// /proc/sys/net follows the thread that opens it, which is how per-namespace settings are written.
func TestSysctlFollowsTheThread(t *testing.T) {
	const path = "/proc/sys/net/ipv6/conf/all/accept_ra"
	outside, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ns := fresh(t)
	if err := netns.Do(ns, func() error { return os.WriteFile(path, []byte("2"), 0) }); err != nil {
		t.Fatal(err)
	}
	var inside []byte
	if err := netns.Do(ns, func() (err error) { inside, err = os.ReadFile(path); return err }); err != nil {
		t.Fatal(err)
	}
	still, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(inside)) != "2" || string(still) != string(outside) {
		t.Errorf("inside %q, want 2; outside %q, was %q", inside, still, outside)
	}
}

func TestOpenRefusesWhatIsNoNetworkNamespace(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/proc/self/ns/mnt", "/etc/passwd", fifo, "/", "/nonexistent"} {
		if f, err := netns.Open(path); err == nil {
			f.Close()
			t.Errorf("%s was taken for a network namespace", path)
		} else if !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the error does not name it: %v", path, err)
		}
	}
	f, err := netns.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
