package main

import (
	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/wgmesh/keeper"
)

// newKeeperCommand is the hidden process that holds the overlay namespace. It reads its own flags.
func newKeeperCommand() *cobra.Command {
	return &cobra.Command{
		Use: "keeper", Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error { return keeper.Main(cmd.Context(), args) },
	}
}

// newWireGuardCommand is the hidden process that runs one WireGuard device in user space. It reads its own flags.
func newWireGuardCommand() *cobra.Command {
	return &cobra.Command{
		Use: "wireguard", Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error { return keeper.ChildMain(cmd.Context(), args) },
	}
}
