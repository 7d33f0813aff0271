package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

const (
	startTimeout = 10 * time.Second // for a child to serve its socket; it takes some 20 ms
	stopTimeout  = 2 * time.Second  // between SIGTERM and SIGKILL
)

// Descriptors that a child is started with.
const (
	fdTUN   = 3
	fdLinks = 4 // netlink socket of the overlay's namespace, for the MTU
	fdReady = 5 // pipe: a byte once the UAPI socket is served
)

// child is a running `weavewg wireguard NAME`.
type child struct {
	cmd    *exec.Cmd
	exited chan struct{}
	reason string // after exited
}

// startChild starts a child and returns once it can be configured.
func startChild(ctx context.Context, d *userDevice) (*child, error) {
	links, err := openLinkSocket()
	if err != nil {
		return nil, err
	}
	defer links.Close()
	ready, readyWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()

	output := &lastLine{to: d.output}
	// The program that this keeper was made from, even if its file was replaced since.
	cmd := exec.Command("/proc/self/exe", "wireguard", "--mtu", strconv.Itoa(d.mtu), "--procs", strconv.Itoa(d.procs), d.name)
	cmd.Args[0] = os.Args[0]
	cmd.Env = []string{}
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = output, output
	cmd.WaitDelay = stopTimeout
	cmd.ExtraFiles = []*os.File{d.tun, links, readyWrite}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	err = d.host.do(cmd.Start)
	readyWrite.Close()
	if err != nil {
		return nil, fmt.Errorf("start the WireGuard process of %s: %w", d.name, err)
	}
	c := &child{cmd: cmd, exited: make(chan struct{})}
	go func() {
		defer close(c.exited)
		if err := cmd.Wait(); err != nil {
			c.reason = err.Error()
		} else {
			c.reason = "exited"
		}
		if line := output.String(); line != "" {
			c.reason += ": " + line
		}
	}()

	release := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })
	defer release()
	_ = ready.SetReadDeadline(time.Now().Add(startTimeout))
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			c.await(stopTimeout) // it closed the pipe, so it is ending, with a reason
			c.terminate(0)
			return nil, fmt.Errorf("the WireGuard process of %s ended: %s", d.name, c.reason)
		}
		c.terminate(0)
		return nil, fmt.Errorf("the WireGuard process of %s was not ready after %s", d.name, startTimeout)
	}
	return c, nil
}

func (c *child) pid() int { return c.cmd.Process.Pid }

// wait returns why the child ended by itself; when ctx ends first it ends the child.
func (c *child) wait(ctx context.Context) string {
	select {
	case <-c.exited:
	case <-ctx.Done():
		c.terminate(stopTimeout)
	}
	return c.reason
}

// terminate ends the child, gently for so long.
func (c *child) terminate(grace time.Duration) {
	if grace > 0 {
		_ = c.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		c.await(grace)
	}
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.exited
}

// await waits for the child's own end, at most so long.
func (c *child) await(most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-c.exited:
	case <-timer.C:
	}
}
