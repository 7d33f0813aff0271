package main

import (
	"github.com/spf13/cobra"
)

// newRootCommand builds the whole command tree.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "weavewg COMMAND",
		Short: "One Ethernet switch across hosts, encrypted by WireGuard",
		Long: "weavewg makes the hosts of a mesh one Ethernet switch: containers, virtual machines and the hosts plug in,\n" +
			"frames between hosts travel inside WireGuard.",
		SilenceErrors: true, DisableFlagsInUseLine: true,
		SilenceUsage: true,
		Args:         func(*cobra.Command, []string) error { return nil },
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("give a command; weavewg help lists them")
			}
			return usagef("unknown command %q%s", args[0], didYouMean(cmd, args[0]))
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.PersistentFlags().StringVarP(&a.configFile, "config", "c", "", "configuration (default: /etc/weavewg/weavewg.yaml)")
	root.PersistentFlags().StringVar(&a.socket, "socket", "", "socket of the daemon (default: in the run_dir of the configuration)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err.Error()} })
	root.SetHelpCommandGroupID(groupOther)
	for _, g := range []*cobra.Group{
		{ID: groupNode, Title: "This node:"},
		{ID: groupMesh, Title: "The mesh:"},
		{ID: groupPorts, Title: "What is plugged in:"},
		{ID: groupOther, Title: "Help and diagnosis:"},
	} {
		root.AddGroup(g)
	}
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupNode, newInitCommand(a), newUpCommand(a), newDownCommand(a), newStatusCommand(a), newWaitCommand(a), newConfigCommand(a),
		newSecretCommand(a), newKeysCommand(a))
	add(groupMesh, newPeersCommand(a), newMACsCommand(a), newPingCommand(a), newConnectCommand(a), newForgetCommand(a))
	add(groupPorts, newAttachCommand(a), newDetachCommand(a), newRunCommand(a), newExposeCommand(a), newHideCommand(a), newPsCommand(a))
	add(groupOther, newCaptureCommand(a), newReportCommand(a), newDoctorCommand(a), newVersionCommand(a), newCompletionCommand(a), newDemoCommand())
	root.AddCommand(newKeeperCommand(), newWireGuardCommand())
	root.AddCommand(laterCommands()...)
	root.AddCommand(weaveCommands(a)...)
	return root
}

// Groups of the help.
const (
	groupNode  = "node"
	groupMesh  = "mesh"
	groupPorts = "ports"
	groupOther = "other"
)

// didYouMean names the commands that are near a word.
func didYouMean(cmd *cobra.Command, word string) string {
	cmd.SuggestionsMinimumDistance = 2
	if s := cmd.SuggestionsFor(word); len(s) > 0 {
		return " (did you mean " + s[0] + "?)"
	}
	return ""
}

// args checks how many arguments were given; most < 0: any number.
func args(least, most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, given []string) error {
		switch {
		case len(given) < least:
			return usagef("an argument is missing")
		case most >= 0 && len(given) > most:
			return usagef("unexpected argument %q", given[most])
		}
		return nil
	}
}

// group makes a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{
		Use: use, Short: short,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("%s: give one of its commands", cmd.CommandPath())
			}
			return usagef("%s: unknown command %q%s", cmd.CommandPath(), args[0], didYouMean(cmd, args[0]))
		},
	}
	g.AddCommand(commands...)
	return g
}
