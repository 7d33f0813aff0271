package main

import "github.com/spf13/cobra"

func newReportCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "report", Short: "Print everything that helps to find a fault, as JSON; it holds no secret", Args: args(0, 0), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			r, err := c.Report(cmd.Context())
			if err != nil {
				return err
			}
			return a.printJSON(r)
		},
	}
}
