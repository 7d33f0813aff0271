package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newKeysCommand(a *app) *cobra.Command {
	var asJSON bool
	show := &cobra.Command{
		Use: "show [--json]", Short: "Show this node's public keys and their ages", Args: args(0, 0), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			k, err := c.Keys(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(k)
			}
			fmt.Fprintf(a.out, "node      %s\nidentity  %s\n\n", k.NodeID, k.Identity)
			t := newTable(a.out, "SLOT", "INTERFACE", "PORT", "GENERATION", "AGE", "TUNNELS", "PUBLIC KEY")
			for _, s := range k.Slots {
				t.row(fmt.Sprint(s.Slot), s.Interface, fmt.Sprint(s.Port), fmt.Sprint(s.Generation), secondsText(s.AgeS), fmt.Sprint(s.Tunnels), s.PublicKey)
			}
			return t.flush()
		},
	}
	show.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return group("keys COMMAND", "WireGuard keys", show, later("rotate"))
}
