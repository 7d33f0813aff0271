package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/config"
)

// weaveCommands answer to Weave's verbs: they do their work with ours, or name it.
func weaveCommands(a *app) []*cobra.Command {
	launch := &cobra.Command{
		Use: "launch [PEER…]", Short: "Weave's word for up -d", Hidden: true, Args: args(0, -1),
		RunE: func(cmd *cobra.Command, given []string) error { return a.launch(cmd, given) },
	}
	config.Flags(launch.Flags())
	return []*cobra.Command{
		launch,
		{
			Use: "stop", Short: "End the daemon and leave the data plane", Hidden: true, Args: args(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.stop(cmd) },
		},
		{
			Use: "reset", Short: "Weave's word for down --purge", Hidden: true, Args: args(0, 0),
			RunE: func(cmd *cobra.Command, _ []string) error { return a.down(cmd.Context(), true) },
		},
		renamed("rmpeer NODE…", newForgetCommand(a)),
		later("dns-add"), later("dns-remove"), later("dns-lookup"),
	}
}

// renamed is a command under another name.
func renamed(use string, c *cobra.Command) *cobra.Command {
	c.Use, c.Hidden = use, true
	return c
}

// launch is up -d, with peers added to those of the configuration.
func (a *app) launch(cmd *cobra.Command, given []string) error {
	targets, err := targetsOf(given)
	if err != nil {
		return err
	}
	if len(targets) > 0 {
		c, err := a.load(config.Sources{Flags: cmd.Flags()})
		if err != nil {
			return err
		}
		all := slices.Clone(c.Peers)
		for _, t := range targets {
			if !slices.Contains(all, t) {
				all = append(all, t)
			}
		}
		if err := cmd.Flags().Set("peers", strings.Join(all, ",")); err != nil {
			return err
		}
	}
	return a.upDetached(cmd)
}

// stop ends the daemon as SIGTERM does: frames flow on where the data plane can do without it.
func (a *app) stop(cmd *cobra.Command) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := c.Status(cmd.Context())
	if err != nil {
		return err
	}
	process, err := unix.PidfdOpen(s.Node.PID, 0)
	if err != nil {
		return fmt.Errorf("weavewg (pid %d): %w", s.Node.PID, err)
	}
	defer unix.Close(process)
	if err := unix.PidfdSendSignal(process, unix.SIGTERM, nil, 0); err != nil {
		return fmt.Errorf("weavewg (pid %d): %w", s.Node.PID, err)
	}
	if err := waitFor(cmd.Context(), process, 15*time.Second); err != nil {
		return fmt.Errorf("weavewg (pid %d): %w", s.Node.PID, err)
	}
	fmt.Fprintln(a.out, "the daemon has ended and left its data plane; weavewg down removes that too")
	return nil
}
