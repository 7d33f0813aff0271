package keeper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// Options of Ensure.
type Options struct {
	Binary string // the program whose `keeper` command is started; empty: the running one
	RunDir string
	NodeID string // first digits of the node's id
	Logger *zap.Logger
}

// Ensure connects to the keeper of a run_dir, and starts it if there is none, in a session of its own so that it
// outlives this process. The calling thread's network namespace becomes the one that WireGuard's sockets are in. A
// keeper that serves another daemon is an error that names it.
func Ensure(ctx context.Context, o Options) (*Client, error) {
	if path := socketPath(o.RunDir); len(path) >= len(unix.RawSockaddrUnix{}.Path) {
		return nil, fmt.Errorf("run_dir %s: a socket in it would have a path of %d bytes, the system takes %d",
			o.RunDir, len(path), len(unix.RawSockaddrUnix{}.Path)-1)
	}
	c, err := connect(ctx, o.RunDir)
	if err == nil {
		o.Logger.Info("keeper adopted", zap.Int("keeper", c.pid))
		return c, nil
	}
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) {
		return nil, err
	}
	keeper, err := spawn(ctx, o)
	if err != nil {
		return nil, err
	}
	c, err = connect(ctx, o.RunDir)
	if err != nil {
		return nil, errors.Join(err, keeper.kill())
	}
	c.mu.Lock()
	c.spawned = keeper
	c.mu.Unlock()
	o.Logger.Info("keeper started", zap.Int("keeper", c.pid))
	return c, nil
}

// Stop ends the keeper of a run_dir, whether a daemon uses it or not, and waits until it is gone; that removes the
// overlay namespace unless somebody else holds it. Without a keeper the error is os.ErrNotExist.
func Stop(ctx context.Context, runDir string) error {
	conn, err := dial(runDir)
	if errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("no keeper in %s: %w", runDir, os.ErrNotExist)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	cred, err := credentials(conn)
	if err != nil {
		return err
	}
	process, err := unix.PidfdOpen(int(cred.Pid), 0)
	if err != nil {
		return fmt.Errorf("keeper (pid %d): %w", cred.Pid, err)
	}
	defer unix.Close(process)
	release := context.AfterFunc(ctx, func() { conn.Close() })
	defer release()
	if err := send(conn, request{Version: Version, ID: 1, Op: opStop}, nil); err != nil {
		return fmt.Errorf("keeper (pid %d): %w", cred.Pid, err)
	}
	var r reply
	if _, err := receive(conn, &r); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("keeper (pid %d): %w", cred.Pid, errors.Join(err, ctx.Err()))
	}
	if r.Error != "" {
		return errors.New(r.Error)
	}
	if !ended(process, stopTimeout+time.Second) {
		return fmt.Errorf("keeper (pid %d) did not end", cred.Pid)
	}
	return nil
}

// Stop ends the keeper, its children and the namespace, and closes the client.
func (c *Client) Stop(ctx context.Context) error {
	process, err := unix.PidfdOpen(c.pid, 0)
	if err != nil {
		return errors.Join(fmt.Errorf("keeper (pid %d): %w", c.pid, err), c.Close())
	}
	defer unix.Close(process)
	_, err = c.ask(ctx, request{Op: opStop})
	if errors.Is(err, ErrGone) {
		err = nil
	}
	if err == nil && !ended(process, stopTimeout+time.Second) {
		err = fmt.Errorf("keeper (pid %d) did not end", c.pid)
	}
	return errors.Join(err, c.Close())
}

// spawned is a keeper that this process started and so has to wait for if it ends first.
type spawned struct{ process *os.Process }

// spawn starts a keeper in a new network namespace and returns once it serves its socket.
func spawn(ctx context.Context, o Options) (*spawned, error) {
	host, err := netns.Own()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	report, reportWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer report.Close()
	output, err := os.OpenFile(LogPath(o.RunDir), os.O_CREATE|os.O_APPEND|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		reportWrite.Close()
		return nil, fmt.Errorf("run_dir: %w", err)
	}
	defer output.Close()

	binary := o.Binary
	if binary == "" {
		binary = "/proc/self/exe"
	}
	cmd := exec.Command(binary, "keeper", "--run-dir", o.RunDir, "--node", o.NodeID)
	cmd.Args[0] = os.Args[0]
	cmd.Env = []string{} // nothing of the daemon's, which may hold more than the keeper should know
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = output, output
	cmd.ExtraFiles = []*os.File{host, reportWrite}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Setsid: true}
	err = cmd.Start()
	reportWrite.Close()
	if errors.Is(err, unix.EPERM) {
		return nil, fmt.Errorf("start the keeper in a network namespace of its own: %w: that needs root (CAP_SYS_ADMIN)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("start the keeper: %w", err)
	}
	keeper := &spawned{process: cmd.Process}
	release := context.AfterFunc(ctx, func() { _ = report.SetReadDeadline(time.Now()) })
	defer release()
	_ = report.SetReadDeadline(time.Now().Add(startTimeout))
	said, err := io.ReadAll(report)
	if string(said) == "ok" {
		return keeper, nil
	}
	switch {
	case len(said) > 0:
		err = fmt.Errorf("keeper: %s", bytes.TrimSpace(said))
	case err == nil:
		err = fmt.Errorf("the keeper ended at once: see %s", LogPath(o.RunDir))
	default:
		err = fmt.Errorf("the keeper was not ready after %s: see %s", startTimeout, LogPath(o.RunDir))
	}
	return nil, errors.Join(err, keeper.kill())
}

func (s *spawned) kill() error {
	if err := s.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_, err := s.process.Wait()
	return err
}

// reap takes the exit status of a keeper that ends within so long, so that it leaves no zombie; else it is let go.
func (s *spawned) reap(grace time.Duration) {
	process, err := unix.PidfdOpen(s.process.Pid, 0)
	if err == nil {
		defer unix.Close(process)
		if ended(process, grace) {
			_, _ = s.process.Wait() // only the status matters to the kernel
			return
		}
	}
	_ = s.process.Release()
}

// reapTimeout is for a keeper that closed our connection, so is on its way out.
const reapTimeout = stopTimeout

// ended waits until a process has ended, by its pidfd (pidfd_open(2): readable once it has).
func ended(pidfd int, timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	for {
		left := max(0, time.Until(deadline))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, int(left.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n == 1
	}
}
