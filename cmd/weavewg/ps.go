package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/services/api"
)

func newPsCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "ps [--json]", Short: "List what is plugged in here", Args: args(0, 0), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := c.Ports(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(p)
			}
			return writePorts(a.out, p.Ports)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writePorts(w io.Writer, ports []api.Port) error {
	if len(ports) == 0 {
		fmt.Fprintln(w, "nothing is plugged in here")
		return nil
	}
	t := newTable(w, "NETWORK", "KIND", "TARGET", "INTERFACE", "MAC", "STATE", "ADDRESSES", "REASON")
	for _, p := range ports {
		t.row(p.Network, p.Kind, portTarget(p), p.Interface, p.MAC, p.State, strings.Join(p.Addresses, ", "), p.Reason)
	}
	return t.flush()
}

// portTarget names what is plugged in: a container by name and short id.
func portTarget(p api.Port) string {
	switch {
	case p.Kind == "host":
		return "this host"
	case p.Container != "":
		return fmt.Sprintf("%s (%s)", p.Container, p.Target[:min(12, len(p.Target))])
	}
	return p.Target
}
