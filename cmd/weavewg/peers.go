package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/services/api"
)

func newPeersCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "peers [--json]", Short: "List the other nodes and the links to them", Args: args(0, 0), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(api.Peers{Schema: api.PeersSchema, Peers: s.Peers})
			}
			return writePeers(a.out, s.Peers, time.Now())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// writePeers prints one row a peer.
func writePeers(w io.Writer, peers []api.Peer, now time.Time) error {
	if len(peers) == 0 {
		fmt.Fprintln(w, "no peers yet")
		return nil
	}
	t := newTable(w, "NAME", "ID", "STATE", "PATH", "ENDPOINT", "RTT", "LOSS", "MTU", "HANDSHAKE", "RX", "TX", "REASON")
	for _, p := range peers {
		loss, mtu := "", ""
		if p.State == "up" {
			loss = fmt.Sprintf("%.0f%%", p.Path.Loss*100)
		}
		if p.Path.MTU > 0 {
			mtu = fmt.Sprint(p.Path.MTU)
		}
		t.row(p.Name, short(p.ID), p.State, pathText(p.Path), p.Path.Endpoint, rttText(p.Path.RTTms), loss, mtu,
			ageText(p.WireGuard.LastHandshake, now), bytesText(p.WireGuard.RxBytes), bytesText(p.WireGuard.TxBytes), reason(p))
	}
	return t.flush()
}

// short is the part of an id that tables show.
func short(id string) string { return id[:min(8, len(id))] }

// reason is what a person should know of a link: why it is not up, or why its path is not direct.
func reason(p api.Peer) string {
	if p.State == "up" && p.Path.Kind != "direct" && p.Path.Reason != "" {
		return p.Path.Reason
	}
	return p.Reason
}

// pathText is the kind of a path with its relays.
func pathText(p api.Path) string {
	if len(p.Via) == 0 {
		return p.Kind
	}
	names := make([]string, len(p.Via))
	for i, v := range p.Via {
		names[i] = v.Name
	}
	return p.Kind + " via " + strings.Join(names, ", ")
}

// rttText prints a round-trip time; 0 is not known.
func rttText(ms float64) string {
	switch {
	case ms <= 0:
		return ""
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}
