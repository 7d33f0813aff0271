package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/services/api"
)

func newMACsCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "macs [NETWORK] [--json]", Short: "List learnt addresses: MAC, IPs, who is behind them, age", Args: args(0, 1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			m, err := c.MACs(cmd.Context(), first(given))
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(m)
			}
			return writeMACs(a.out, m.MACs)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeMACs(w io.Writer, macs []api.MAC) error {
	if len(macs) == 0 {
		fmt.Fprintln(w, "nothing learnt yet")
		return nil
	}
	t := newTable(w, "NETWORK", "MAC", "PEER", "CARRIED", "AGE", "MOVES", "IPS")
	for _, m := range macs {
		peer := m.Peer
		if m.Local {
			peer += " (here)"
		}
		ips := make([]string, len(m.IPs))
		for i, ip := range m.IPs {
			ips[i] = ip.String()
		}
		t.row(m.Network, m.MAC, peer, m.Carried, secondsText(m.AgeS), fmt.Sprint(m.Moves), strings.Join(ips, ", "))
	}
	return t.flush()
}

// first returns the first of the arguments, or "".
func first(given []string) string {
	if len(given) == 0 {
		return ""
	}
	return given[0]
}
