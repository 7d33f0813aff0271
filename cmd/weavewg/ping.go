package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/services/api"
)

func newPingCommand(a *app) *cobra.Command {
	var asJSON bool
	var count int
	cmd := &cobra.Command{
		Use: "ping PEER [--count N] [--json]", Short: "Probe a peer through its tunnel; names the path of every reply", Args: args(1, 1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			if count < 0 {
				return usagef("--count: %d is negative", count)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			sent, answered := 0, 0
			err = c.Ping(cmd.Context(), api.PingRequest{Peer: given[0], Count: count}, func(r api.PingReply) error {
				sent++
				if !r.Lost {
					answered++
				}
				if asJSON {
					return json.NewEncoder(a.out).Encode(r)
				}
				fmt.Fprintln(a.out, pingLine(r))
				return nil
			})
			if err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			if !asJSON {
				fmt.Fprintf(a.out, "%d sent, %d answered\n", sent, answered)
			}
			if answered == 0 {
				return fmt.Errorf("%s does not answer through its tunnel", given[0])
			}
			return nil
		},
	}
	cmd.Flags().IntVarP(&count, "count", "n", 0, "how many probes; 0: until interrupted")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document a line")
	return cmd
}

func pingLine(r api.PingReply) string {
	path := pathText(r.Path)
	if path == "" {
		path = "no path"
	}
	if r.Path.Endpoint != "" {
		path += " " + r.Path.Endpoint
	}
	if r.Lost {
		return fmt.Sprintf("%s: seq %d lost (%s)", r.Peer, r.Seq, path)
	}
	return fmt.Sprintf("%s: seq %d in %s (%s)", r.Peer, r.Seq, rttText(r.RTTms), path)
}
