package keeper

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// The test binary is also the program whose hidden commands the keeper and its children are.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		run := map[string]func(context.Context, []string) error{
			"keeper": Main, "wireguard": ChildMain, "test-daemon": testDaemon,
		}[os.Args[1]]
		if run != nil {
			if err := run(context.Background(), os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m)
}

// testDaemon starts a keeper and a device, says so, and waits to be killed.
func testDaemon(ctx context.Context, args []string) error {
	c, err := Ensure(ctx, Options{RunDir: args[0], NodeID: "0badcafe", Logger: zap.NewNop()})
	if err != nil {
		return err
	}
	child, err := c.WireGuard(ctx, args[1], 1420, 0)
	if err != nil {
		return err
	}
	fmt.Println(c.PID(), child)
	select {}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(10 * time.Second); !f(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("does not happen: %s", what)
		}
	}
}

// host is a namespace that stands for the host's.
func host(t *testing.T) *os.File {
	t.Helper()
	var ns *os.File
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread goes with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			ns, err = netns.Own()
		}
		made <- err
	}()
	must(t, <-made)
	t.Cleanup(func() { ns.Close() })
	return ns
}

// ensure starts or adopts the keeper of a run_dir from inside a host namespace; it is stopped with the test.
func ensure(t *testing.T, ns *os.File, runDir string) (*Client, error) {
	t.Helper()
	var c *Client
	err := netns.Do(ns, func() (err error) {
		c, err = Ensure(t.Context(), Options{RunDir: runDir, NodeID: "0badcafe", Logger: zaptest.NewLogger(t)})
		return err
	})
	if err == nil {
		t.Cleanup(func() {
			c.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_ = Stop(ctx, runDir) // a test may have stopped it already
		})
	}
	return c, err
}

func started(t *testing.T, ns *os.File, runDir string) *Client {
	t.Helper()
	c, err := ensure(t, ns, runDir)
	must(t, err)
	return c
}

func linksAt(t *testing.T, ns *os.File) *netlink.Handle {
	t.Helper()
	at := vnetns.NsHandle(ns.Fd())
	h, err := netlink.NewHandleWithOptions(netlink.HandleOptions{RetryInterrupted: true, NetNS: &at}, unix.NETLINK_ROUTE)
	must(t, err)
	t.Cleanup(func() { h.Close() })
	return h
}

// deviceName differs between tests that run at the same time: userspace sockets share one folder.
func deviceName(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("wg-%08x-0", uint32(os.Getpid())<<16|uint32(time.Now().UnixNano()>>10&0xffff))
}

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }
