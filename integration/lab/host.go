package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Host is a machine made of a network namespace: it shares files, users and process ids with this machine, and has
// interfaces, addresses, routes and ports of its own. It implements Machine.
type Host struct {
	*Space
	lab  *Lab
	name string

	mu         sync.Mutex
	running    map[*localProcess]struct{}
	stopped    bool
	interfaces int // made so far
}

var _ Machine = (*Host)(nil)

// Host adds a host without interfaces, but for its loopback.
func (l *Lab) Host(name string) (*Host, error) {
	space, err := NewSpace(name)
	if err != nil {
		return nil, err
	}
	// Addresses can be used at once: nobody else in a lab has them.
	if err := space.Do(func() error { return sysctl("ipv6/conf/default/accept_dad", "0") }); err != nil {
		return nil, errors.Join(err, space.Close())
	}
	h := &Host{Space: space, lab: l, name: name, running: make(map[*localProcess]struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, h)
	return h, nil
}

// Router adds a host that forwards between its interfaces.
func (l *Lab) Router(name string) (*Host, error) {
	h, err := l.Host(name)
	if err != nil {
		return nil, err
	}
	err = h.Do(func() error {
		return errors.Join(sysctl("ipv4/ip_forward", "1"), sysctl("ipv6/conf/all/forwarding", "1"))
	})
	return h, err
}

// Name returns the host's name.
func (h *Host) Name() string { return h.name }

// Dir is the host's own folder, removed with the lab.
func (h *Host) Dir() (string, error) {
	dir := filepath.Join(h.lab.dir, h.name)
	return dir, os.MkdirAll(dir, 0o700)
}

// Command starts a program inside the host, in a process group of its own. Stop kills it.
func (h *Host) Command(ctx context.Context, argv ...string) (Process, error) {
	return h.start(ctx, argv)
}

// Start implements Machine.
func (h *Host) Start(ctx context.Context, argv ...string) (Process, error) {
	return h.start(ctx, argv)
}

// Run implements Machine.
func (h *Host) Run(ctx context.Context, argv ...string) (Result, error) {
	p, err := h.start(ctx, argv)
	if err != nil {
		return Result{Exit: -1}, err
	}
	r, err := p.Wait(ctx)
	if err != nil {
		p.kill()
		return r, fmt.Errorf("%s: %s: %w", h.name, argv[0], err)
	}
	return r, nil
}

// Copy implements Machine. Hosts share this machine's files, so it copies only what lies elsewhere.
func (h *Host) Copy(_ context.Context, local, remote string) error {
	if filepath.Clean(local) == filepath.Clean(remote) {
		return nil
	}
	return copyFile(local, remote)
}

// Stop implements Machine: it kills what was started and waits for it.
func (h *Host) Stop() error {
	h.mu.Lock()
	h.stopped = true
	var left []*localProcess
	for p := range h.running {
		left = append(left, p)
	}
	h.mu.Unlock()
	var errs []error
	for _, p := range left {
		p.kill()
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			errs = append(errs, fmt.Errorf("%s: process %d does not end", h.name, p.PID()))
		}
	}
	return errors.Join(errs...)
}

func (h *Host) start(ctx context.Context, argv []string) (*localProcess, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(argv) == 0 {
		return nil, fmt.Errorf("%s: no program given", h.name)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(environment(), markVar+"="+h.lab.name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A daemon's children may keep its output open after it has ended: do not wait for them.
	cmd.WaitDelay = 200 * time.Millisecond
	p := &localProcess{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr

	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return nil, fmt.Errorf("%s is stopped", h.name)
	}
	if err := h.Do(cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: %w", h.name, err)
	}
	h.running[p] = struct{}{}
	go func() {
		p.wait()
		h.mu.Lock()
		delete(h.running, p)
		h.mu.Unlock()
	}()
	return p, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	st, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, st.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(st.Mode().Perm()), out.Close())
}

// environment is our own without the variables that would configure a node: what is set for us is not meant for it. That
// includes proxies: no lab has one, and nodes would look for each other through it.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return strings.HasPrefix(name, "WEAVEWG_") || strings.HasSuffix(strings.ToUpper(name), "_PROXY")
	})
}
