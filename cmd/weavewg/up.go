package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/wgmesh/node"
)

// newUpCommand runs this node.
func newUpCommand(a *app) *cobra.Command {
	var detach bool
	cmd := &cobra.Command{
		Use: "up [-d]", Short: "Run this node; with -d in the background, returning when it is ready",
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if os.Geteuid() != 0 {
				return fmt.Errorf("up: %w: it makes network interfaces (run it as root, or with CAP_NET_ADMIN through the systemd unit)", errNotRoot)
			}
			load := func() (*config.Config, error) { return a.load(config.Sources{Flags: cmd.Flags(), Routes: hostRoutes()}) }
			c, err := load()
			if err != nil {
				return err
			}
			if detach {
				return a.upDetached(cmd.Context(), c)
			}
			return a.up(cmd.Context(), c, load)
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "return when sockets and datapath stand, and run on")
	config.Flags(cmd.Flags())
	return cmd
}

// up runs the node in the foreground until the context ends.
func (a *app) up(ctx context.Context, c *config.Config, load func() (*config.Config, error)) error {
	log, level, err := newLogger(c.Log, a.err)
	if err != nil {
		return err
	}
	defer func() { _ = log.Sync() }() // stderr cannot be synced
	for _, w := range c.Warnings {
		log.Warn(w)
	}
	stop := context.AfterFunc(ctx, func() { notify(log, daemon.SdNotifyStopping) })
	defer stop()
	return node.Run(ctx, node.Options{
		Config: c, Load: load, Version: version, Logger: log, Level: level,
		Containers: newContainers(log),
		Ready:      func() { notify(log, daemon.SdNotifyReady) },
	})
}

// notify tells systemd, where there is one.
func notify(log *zap.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("systemd is not told", zap.String("state", state), zap.Error(err))
	}
}

// upDetached starts this program again in a session of its own and waits until it answers as ready. A node that does not
// come up has its last line shown.
func (a *app) upDetached(ctx context.Context, c *config.Config) error {
	if err := os.MkdirAll(c.RunDir, 0o755); err != nil { //nolint:gosec // sockets inside have their own modes
		return fmt.Errorf("run_dir: %w", err)
	}
	if c, err := a.client(); err == nil {
		if s, err := c.Status(ctx); err == nil {
			return fmt.Errorf("weavewg is running already (pid %d)", s.Node.PID)
		}
	}
	path := filepath.Join(c.RunDir, "weavewg.log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640) //nolint:gosec // no secret is logged
	if err != nil {
		return fmt.Errorf("log of the node: %w", err)
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var argv []string
	for _, arg := range os.Args[1:] {
		if arg != "-d" && arg != "--detach" && arg != "--detach=true" {
			argv = append(argv, arg)
		}
	}
	cmd := exec.Command(self, argv...) //nolint:gosec,noctx // it is this program, and outlives this context
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return a.awaitReady(ctx, ended, path, cmd.Process)
}

// readyTimeout is generous: emulated machines are slow, and a node that cannot come up ends by itself.
const readyTimeout = 2 * time.Minute

func (a *app) awaitReady(ctx context.Context, ended <-chan error, log string, process *os.Process) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	limit := time.After(readyTimeout)
	for {
		select {
		case <-poll.C:
			if s, err := client.Status(ctx); err == nil && s.Ready {
				fmt.Fprintf(a.out, "%s is up (pid %d, log %s)\n", s.Node.Name, s.Node.PID, log)
				return nil
			}
		case <-ended:
			return errors.New(lastLine(log))
		case <-limit:
			return fmt.Errorf("not ready after %s, still trying (pid %d): see %s", readyTimeout, process.Pid, log)
		case <-ctx.Done():
			_ = process.Signal(syscall.SIGTERM)
			return ctx.Err()
		}
	}
}

// lastLine is what the program said last, or that it said nothing.
func lastLine(path string) string {
	f, err := os.Open(path) //nolint:gosec // our own log
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	lines := strings.Split(string(bytes.TrimSpace(data)), "\n")
	if last := lines[len(lines)-1]; err == nil && last != "" {
		return last
	}
	return "it ended without a word: see " + path
}
