package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/api"
)

func newWaitCommand(a *app) *cobra.Command {
	var what, timeout string
	cmd := &cobra.Command{
		Use: "wait --for ready|peer=NAME [--timeout D]", Short: "Wait until this node is ready, or a peer is up", Args: args(0, 0),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			limit, err := config.Duration(timeout)
			if err != nil {
				return usagef("--timeout: %v", err)
			}
			var wrong error
			wanted, err := waitingFor(what, &wrong)
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx := cmd.Context()
			if limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			err = c.Await(ctx, wanted)
			if errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("%s: not in %s: %s", what, timeout, strings.TrimSuffix(strings.TrimPrefix(err.Error(), "gave up waiting: "), ": "+context.DeadlineExceeded.Error()))
			}
			return errors.Join(wrong, err)
		},
	}
	cmd.Flags().StringVar(&what, "for", "ready", "ready, or peer=NAME")
	cmd.Flags().StringVar(&timeout, "timeout", "0", "give up after this time, such as 10s; 0: never")
	return cmd
}

// waitingFor makes the condition of a --for. A name that fits several peers ends the wait through wrong.
func waitingFor(what string, wrong *error) (func(api.Status) (bool, string), error) {
	name, isPeer := strings.CutPrefix(what, "peer=")
	switch {
	case what == "ready":
		return func(s api.Status) (bool, string) { return s.Ready, "the datapath is not built yet" }, nil
	case !isPeer || name == "":
		return nil, usagef("--for: %q is neither ready nor peer=NAME", what)
	}
	return func(s api.Status) (bool, string) {
		p, err := api.FindPeer(s, name)
		if e, ok := errors.AsType[*api.Error](err); ok && e.Code != api.CodeNotFound {
			*wrong = err
			return true, ""
		}
		if err != nil {
			return false, err.Error()
		}
		return p.State == "up", fmt.Sprintf("%s is %s: %s", p.Name, p.State, reason(p))
	}, nil
}
