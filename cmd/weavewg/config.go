package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/topology/control"
)

// ConfigSchema is the schema of `config show --json`.
const ConfigSchema = "weavewg.config/v1"

func newConfigCommand(a *app) *cobra.Command {
	return group("config COMMAND", "Check, show or reload the configuration", newConfigCheckCommand(a), newConfigShowCommand(a),
		newConfigReloadCommand(a))
}

func newConfigCheckCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration and the files that it names", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(config.Sources{Flags: cmd.Flags(), Routes: hostRoutes()})
			if err != nil {
				return err
			}
			a.warn(c)
			if _, err := control.LoadSecrets(c.SecretFile); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s: ok\n", c.File)
			return nil
		},
	}
	config.Flags(cmd.Flags())
	return cmd
}

func newConfigShowCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show [--json]", Short: "Print the effective configuration and where each value came from", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load(config.Sources{Flags: cmd.Flags(), Routes: hostRoutes()})
			if err != nil {
				return err
			}
			a.warn(c)
			if asJSON {
				return a.printJSON(map[string]any{"schema": ConfigSchema, "values": c.Values(), "origins": c.Origins(), "warnings": c.Warnings})
			}
			fmt.Fprint(a.out, c.Show())
			return nil
		},
	}
	config.Flags(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// warn prints what the configuration does not refuse.
func (a *app) warn(c *config.Config) {
	for _, w := range c.Warnings {
		fmt.Fprintf(a.err, "warning: %s\n", w)
	}
}

func newConfigReloadCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "reload", Short: "Make the daemon read its configuration again: all of it is applied, or none", Args: args(0, 0), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := c.Reload(cmd.Context())
			if err != nil {
				return err
			}
			if len(r.Changed) == 0 {
				fmt.Fprintln(a.out, "nothing has changed")
				return nil
			}
			fmt.Fprintf(a.out, "applied: %s\n", strings.Join(r.Changed, ", "))
			return nil
		},
	}
}
