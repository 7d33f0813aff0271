package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/api"
)

func newConnectCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "connect HOST[:PORT]…", Short: "Dial more nodes; kept across restarts", Args: args(1, -1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			targets, err := targetsOf(given)
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if err := c.Connect(cmd.Context(), targets); err != nil {
				return err
			}
			for _, t := range targets {
				fmt.Fprintf(a.out, "dialling %s\n", t)
			}
			return nil
		},
	}
}

// targetsOf completes addresses as they were typed.
func targetsOf(given []string) ([]string, error) {
	targets := make([]string, len(given))
	for i, g := range given {
		t, err := config.Target(g)
		if err != nil {
			return nil, usageError{err.Error()}
		}
		targets[i] = t
	}
	return targets, nil
}

func newForgetCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "forget HOST… | NODE", Short: "Stop dialling an address, or drop an absent node", Args: args(1, -1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			r, err := forgetRequest(s, given)
			if err != nil {
				return err
			}
			if err := c.Forget(cmd.Context(), r); err != nil {
				return err
			}
			for _, g := range given {
				fmt.Fprintf(a.out, "forgot %s\n", g)
			}
			return nil
		},
	}
}

// forgetRequest sorts words into targets and nodes: what is dialled is a target, even if a node has the same name.
func forgetRequest(s api.Status, given []string) (r api.ForgetRequest, err error) {
	for _, g := range given {
		if t, err := config.Target(g); err == nil && isTarget(s, t) {
			r.Targets = append(r.Targets, t)
			continue
		}
		p, err := api.FindPeer(s, g)
		if e, ok := err.(*api.Error); ok && e.Code == api.CodeNotFound { //nolint:errorlint // FindPeer wraps nothing
			return r, api.Errorf(api.CodeNotFound, "%s is neither a target nor a node: weavewg status and weavewg peers list them", g)
		}
		if err != nil {
			return r, err
		}
		r.Nodes = append(r.Nodes, p.ID)
	}
	return r, nil
}

func isTarget(s api.Status, target string) bool {
	for _, t := range s.Targets {
		if t.Address == target {
			return true
		}
	}
	return false
}
