package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/services/api"
)

func newStatusCommand(a *app) *cobra.Command {
	var asJSON bool
	var check string
	cmd := &cobra.Command{
		Use: "status [--json] [--check live|ready]", Short: "Show how this node is and why", Args: args(0, 1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			if check != "" && check != "live" && check != "ready" {
				return usagef("--check: %q is neither live nor ready", check)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if len(given) == 1 {
				return a.statusOf(cmd, c, given[0], asJSON)
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			switch {
			case asJSON:
				err = a.printJSON(s)
			case check == "":
				err = writeStatus(a.out, s)
			}
			if err != nil || check == "" {
				return err
			}
			if text := degraded(s, check); text != "" {
				return degradedError{text}
			}
			if !asJSON {
				fmt.Fprintln(a.out, "ok")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().StringVar(&check, "check", "", "live: the daemon answers; ready: the datapath is built; exit 4 at a problem of severity error")
	return cmd
}

// statusOf answers the words that Weave's status took.
func (a *app) statusOf(cmd *cobra.Command, c *api.Client, word string, asJSON bool) error {
	switch word {
	case "peers", "connections", "targets":
		s, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		if word == "targets" {
			if asJSON {
				return a.printJSON(s)
			}
			return writeTargets(a.out, s.Targets)
		}
		if asJSON {
			return a.printJSON(api.Peers{Schema: api.PeersSchema, Peers: s.Peers})
		}
		return writePeers(a.out, s.Peers, time.Now())
	case "dns", "ipam":
		return fmt.Errorf("status %s: %w", word, errLater)
	}
	return usagef("status: unknown word %q: peers, connections, targets, dns, ipam", word)
}

// degraded says what is not well, or nothing.
func degraded(s api.Status, check string) string {
	var texts []string
	if check == "ready" && !s.Ready {
		texts = append(texts, "not ready: the datapath is not built yet")
	}
	for _, p := range s.Problems {
		if p.Severity == "error" {
			texts = append(texts, p.Code+": "+p.Message)
		}
	}
	return strings.Join(texts, "\n")
}

// writeStatus prints a status for people.
func writeStatus(w io.Writer, s api.Status) error {
	n := s.Node
	readiness := "ready"
	if !s.Ready {
		readiness = "not ready"
	}
	fmt.Fprintf(w, "node       %s in mesh %s, %s, up %s\n", n.Name, s.Mesh, readiness, secondsText(n.UptimeS))
	fmt.Fprintf(w, "id         %s\n", n.ID)
	fmt.Fprintf(w, "version    %s\n", n.Version)
	fmt.Fprintf(w, "wireguard  %s\n", because(n.WireGuard, n.WireGuardReason))
	fmt.Fprintf(w, "datapath   %s\n", because(n.Datapath, n.DatapathReason))
	addresses := make([]string, len(n.Addresses))
	for i, a := range n.Addresses {
		addresses[i] = a.String()
	}
	underlay := strings.Join(addresses, ", ")
	if underlay == "" {
		underlay = "no address"
	}
	fmt.Fprintf(w, "underlay   %s (NAT: %s)\n", underlay, n.NAT)
	fmt.Fprintf(w, "overlay    %s\n", n.Overlay)
	up := 0
	for _, p := range s.Peers {
		if p.State == "up" {
			up++
		}
	}
	fmt.Fprintf(w, "peers      %d, %d up (weavewg peers), %d control sessions\n\n", len(s.Peers), up, n.ControlSessions)

	t := newTable(w, "NETWORK", "VNI", "SUBNET", "MTU", "PORTS", "MACS", "MEMBERS")
	for _, n := range s.Networks {
		t.row(n.Name, fmt.Sprint(n.VNI), n.Subnet, fmt.Sprint(n.MTU), fmt.Sprint(n.Ports), fmt.Sprint(n.MACCount), strings.Join(n.Members, ", "))
	}
	if len(s.Networks) == 0 {
		t.row("none: a pure relay")
	}
	if err := t.flush(); err != nil {
		return err
	}
	if len(s.Targets) > 0 {
		fmt.Fprintln(w)
		if err := writeTargets(w, s.Targets); err != nil {
			return err
		}
	}
	for _, p := range s.Problems {
		fmt.Fprintf(w, "\n%s: %s (%s)\n", p.Severity, p.Message, p.Code)
		if p.Hint != "" {
			fmt.Fprintf(w, "  %s\n", p.Hint)
		}
	}
	return nil
}

// because joins a word with its reason.
func because(word, reason string) string {
	if reason == "" {
		return word
	}
	return word + ": " + reason
}

func writeTargets(w io.Writer, targets []api.Target) error {
	t := newTable(w, "TARGET", "FROM", "STATE", "NEXT TRY", "REASON")
	for _, x := range targets {
		next := ""
		if x.NextS > 0 {
			next = "in " + secondsText(x.NextS)
		}
		t.row(x.Address, x.Source, x.State, next, x.Reason)
	}
	return t.flush()
}
