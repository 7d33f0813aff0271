package main

import (
	"errors"

	"github.com/spf13/cobra"
)

// errLater answers for commands whose part is not built yet.
var errLater = errors.New("not yet in this version")

// later makes a hidden command that says so.
func later(use string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: "not yet in this version", Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.New(cmd.CommandPath() + ": " + errLater.Error())
		},
	}
}

// laterCommands are the names that later parts bring.
func laterCommands() []*cobra.Command {
	return []*cobra.Command{
		later("path PEER|IP|MAC"), later("token COMMAND"), later("join TOKEN"), later("revoke NODE"),
		later("dns COMMAND"), later("ip COMMAND"), later("bench PEER"),
	}
}
