package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/api"
)

func newAttachCommand(a *app) *cobra.Command {
	var r api.AttachRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use: "attach TARGET [CIDR…|auto|none] [--network NAME] [--as IFNAME]", Short: "Plug a container, process or network namespace in",
		Long: "Plug a container (by name or id), a process (by number) or a network namespace (by path) into a network.\n" +
			"It is plugged in again when this daemon or the container restarts.",
		Args: args(1, -1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			var err error
			if r.Target, err = targetPath(given[0]); err != nil {
				return err
			}
			if r.Addresses, err = addresses("attach", given[1:], "none"); err != nil {
				return err
			}
			if err := interfaceName(r.Interface); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := c.Attach(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.printPort(p, asJSON)
		},
	}
	cmd.Flags().StringVar(&r.Network, "network", "", "network (default: the first of the configuration)")
	cmd.Flags().StringVar(&r.Interface, "as", "", "name of the interface inside (default: ethwe, then ethwe1 …)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newDetachCommand(a *app) *cobra.Command {
	var r api.DetachRequest
	cmd := &cobra.Command{
		Use: "detach TARGET [CIDR…] [--network NAME]", Short: "Unplug something, or take addresses from it", Args: args(1, -1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			var err error
			if r.Target, err = targetPath(given[0]); err != nil {
				return err
			}
			if r.Addresses, err = prefixes(given[1:]); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return c.Detach(cmd.Context(), r)
		},
	}
	cmd.Flags().StringVar(&r.Network, "network", "", "network (default: all that it is in)")
	return cmd
}

func newExposeCommand(a *app) *cobra.Command {
	var r api.ExposeRequest
	var asJSON bool
	cmd := &cobra.Command{
		Use: "expose [CIDR…|auto] [--network NAME]", Short: "Let this host itself join a network", Args: args(0, -1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			var err error
			if r.Addresses, err = addresses("expose", given, ""); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			p, err := c.Expose(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.printPort(p, asJSON)
		},
	}
	cmd.Flags().StringVar(&r.Network, "network", "", "network (default: the first of the configuration)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func newHideCommand(a *app) *cobra.Command {
	var r api.ExposeRequest
	cmd := &cobra.Command{
		Use: "hide [CIDR…] [--network NAME]", Short: "Take this host out of a network again", Args: args(0, -1), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			var err error
			if r.Addresses, err = prefixes(given); err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			return c.Hide(cmd.Context(), r)
		},
	}
	cmd.Flags().StringVar(&r.Network, "network", "", "network (default: the first of the configuration)")
	return cmd
}

// printPort prints interface, MAC and addresses.
func (a *app) printPort(p api.Port, asJSON bool) error {
	if asJSON {
		return a.printJSON(p)
	}
	fmt.Fprintln(a.out, strings.Join(append([]string{p.Interface, p.MAC}, p.Addresses...), " "))
	return nil
}

// addresses checks the address arguments of a command that needs some; bare is the word for none, if the command knows it.
func addresses(command string, given []string, bare string) ([]string, error) {
	others := "such as 10.32.1.5/12"
	if bare != "" {
		others += ", or " + bare
	}
	switch {
	case len(given) == 0:
		return nil, usagef("%s: give an address and mask, %s; auto, the default, needs ipam, which is not yet in this version", command, others)
	case len(given) == 1 && given[0] == "auto":
		return nil, fmt.Errorf("%s: auto needs ipam, which is %w: give an address and mask, %s", command, errLater, others)
	case len(given) == 1 && bare != "" && given[0] == bare:
		return given, nil
	}
	return prefixes(given)
}

// prefixes checks addresses with their masks.
func prefixes(given []string) ([]string, error) {
	for _, g := range given {
		if g == "auto" || g == "none" {
			return nil, usagef("%s goes with no other address", g)
		}
		if _, err := config.Address(g); err != nil {
			return nil, usageError{err.Error()}
		}
	}
	return given, nil
}

// targetPath makes the path of a network namespace absolute; other targets stay as they are.
func targetPath(target string) (string, error) {
	switch {
	case target == "":
		return "", usagef("give a container, a pid or the path of a network namespace")
	case strings.Contains(target, "/"):
		return filepath.Abs(target)
	}
	return target, nil
}

// interfaceName checks --as: the kernel takes 15 bytes without / and white space (dev_valid_name in net/core/dev.c).
func interfaceName(name string) error {
	if len(name) > 15 || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r") {
		return usagef("--as: %q is no name for an interface: at most 15 bytes, without / : and spaces", name)
	}
	return nil
}
