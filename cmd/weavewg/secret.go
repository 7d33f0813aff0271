package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/topology/control"
)

func newSecretCommand(a *app) *cobra.Command {
	var output string
	generate := &cobra.Command{
		Use: "generate [-o FILE]", Short: "Make a mesh secret: on standard output, or in a file of mode 0600", Args: args(0, 0),
		DisableFlagsInUseLine: true,
		RunE: func(*cobra.Command, []string) error {
			if output == "" {
				fmt.Fprintln(a.out, control.GenerateSecret())
				return nil
			}
			if err := control.CreateSecret(output); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "wrote %s: copy it to every node of the mesh, mode 0600\n", output)
			return nil
		},
	}
	generate.Flags().StringVarP(&output, "output", "o", "", "file to write; one that is there is left alone")
	return group("secret COMMAND", "Mesh secrets", generate, later("rotate"))
}
