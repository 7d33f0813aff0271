package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/state"
	"github.com/weavewg/weavewg/wgmesh/keeper"
)

func newDownCommand(a *app) *cobra.Command {
	var purge bool
	cmd := &cobra.Command{
		Use: "down [--purge]", Short: "Stop this node and remove its data plane", Args: args(0, 0), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.down(cmd.Context(), purge) },
	}
	cmd.Flags().BoolVar(&purge, "purge", false, "remove identity, attachments and targets too")
	return cmd
}

// down takes the node down through its daemon; where none runs it removes what a daemon left behind.
func (a *app) down(ctx context.Context, purge bool) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if errors.Is(err, api.ErrNotRunning) {
		return a.downWithoutDaemon(ctx, purge)
	}
	if err != nil {
		return err
	}
	process, pidErr := unix.PidfdOpen(s.Node.PID, 0)
	if err := c.Down(ctx, purge); err != nil {
		return err
	}
	if pidErr != nil { // in another process namespace: its answer has to do
		return nil
	}
	defer unix.Close(process)
	if err := waitFor(ctx, process, 15*time.Second); err != nil {
		return fmt.Errorf("weavewg (pid %d): %w", s.Node.PID, err)
	}
	return nil
}

// downWithoutDaemon ends the keeper that a daemon left, and with purge removes what is remembered.
func (a *app) downWithoutDaemon(ctx context.Context, purge bool) error {
	if err := mustBeRoot("weavewg is not running; removing what it left"); err != nil {
		return err
	}
	c, loadErr := a.load(config.Sources{})
	runDir := config.DefaultRunDir
	switch {
	case a.socket != "":
		runDir = filepath.Dir(a.socket)
	case loadErr == nil:
		runDir = c.RunDir
	case a.configFile != "":
		return loadErr
	}
	if purge { // before anything is removed: whose state would it be?
		if loadErr != nil {
			return fmt.Errorf("--purge needs the configuration, to know what to remove: %w", loadErr)
		}
		if c.RunDir != runDir {
			return fmt.Errorf("--purge: %s belongs to %s, not to %s: give that node's -c FILE", c.File, c.RunDir, runDir)
		}
	}
	switch err := keeper.Stop(ctx, runDir); {
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintf(a.out, "weavewg is not running in %s and has left no data plane\n", runDir)
	case err != nil:
		return err
	default:
		fmt.Fprintln(a.out, "weavewg was not running; removed the data plane that it had left")
	}
	if purge {
		return purgeState(c)
	}
	return nil
}

// purgeState removes identity, attachments and targets; the lock keeps a daemon from starting meanwhile.
func purgeState(c *config.Config) error {
	if _, err := os.Stat(c.StateDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s, err := state.Open(c.StateDir)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Purge(); err != nil {
		return err
	}
	if err := os.Remove(c.IdentityFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// waitFor waits until the process of a pidfd has ended (pidfd_open(2): it is readable then).
func waitFor(ctx context.Context, process int, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(process), Events: unix.POLLIN}}, 100)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(deadline):
			return errors.New("it does not end")
		}
	}
}
