package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/services/api"
)

func newRunCommand(a *app) *cobra.Command {
	var network string
	cmd := &cobra.Command{
		Use: "run [CIDR…|auto] [--network NAME] -- docker run arguments", Short: "Create and start a container that is plugged in",
		Long: "Create a container with `docker create`, start it and plug it in; prints its id. It runs detached, as with\n" +
			"docker run -d. If it cannot be plugged in it is removed again.",
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			dash := cmd.ArgsLenAtDash()
			if dash < 0 {
				return usagef("run: put -- before the arguments of docker run")
			}
			r := api.AttachRequest{Network: network}
			var err error
			if r.Addresses, err = addresses("run", given[:dash], "none"); err != nil {
				return err
			}
			create, err := createArguments(given[dash:])
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if _, err := c.Status(cmd.Context()); err != nil { // before a container is made for nothing
				return err
			}
			id, err := a.runContainer(cmd.Context(), create, func(ctx context.Context, id string) error {
				r.Target = id
				_, err := c.Attach(ctx, r)
				return err
			})
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, id)
			return nil
		},
	}
	cmd.Flags().StringVar(&network, "network", "", "network of weavewg (default: the first of the configuration)")
	return cmd
}

// runContainer creates, starts and attaches a container, or leaves none.
func (a *app) runContainer(ctx context.Context, create []string, attach func(context.Context, string) error) (string, error) {
	id, err := a.docker(ctx, append([]string{"create"}, create...)...)
	if err != nil {
		return "", err
	}
	if _, err = a.docker(ctx, "start", id); err == nil {
		err = attach(ctx, id)
	}
	if err == nil {
		return id, nil
	}
	if _, undo := a.docker(context.WithoutCancel(ctx), "rm", "--force", id); undo != nil {
		err = errors.Join(err, fmt.Errorf("the container stays: %w", undo))
	}
	return "", err
}

// docker runs the docker command and returns its last line of output; its own messages go to standard error.
func (a *app) docker(ctx context.Context, arguments ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", arguments...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, io.MultiWriter(&said, a.err)
	err := cmd.Run()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("there is no docker command here")
	}
	if err != nil {
		return "", fmt.Errorf("docker %s: %w", arguments[0], err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[len(lines)-1], nil
}

// switches are the flags of docker run that take no value (docker/cli, cli/command/container/opts.go). Every other flag
// takes one, in the same argument after = or in the next.
var switches = []string{
	"--detach", "--disable-content-trust", "--help", "--init", "--interactive", "--no-healthcheck", "--oom-kill-disable", "--privileged",
	"--publish-all", "--quiet", "--read-only", "--rm", "--sig-proxy", "--tty", "--use-api-socket",
}

// onlyRun are flags of docker run that docker create does not know: about the terminal that run stays attached to.
var onlyRun = []string{"--detach", "--sig-proxy", "--detach-keys"}

// createArguments turns arguments of docker run into those of docker create. What follows the image is the container's
// own and stays as it is.
func createArguments(run []string) ([]string, error) {
	var create []string
	for i := 0; i < len(run); i++ {
		word := run[i]
		if word == "--" {
			return finish(create, run[i:], run[i+1:])
		}
		if !strings.HasPrefix(word, "-") || word == "-" {
			return finish(create, run[i:], run[i:])
		}
		name, _, hasValue := strings.Cut(word, "=")
		if strings.HasPrefix(word, "--") {
			takes := !hasValue && !slices.Contains(switches, name)
			if takes && i+1 == len(run) {
				return nil, usagef("run: %s needs a value", word)
			}
			keep := !slices.Contains(onlyRun, name)
			if keep {
				create = append(create, word)
			}
			if takes {
				if i++; keep {
					create = append(create, run[i])
				}
			}
			continue
		}
		if name == "-d" { // also -d=true
			continue
		}
		// Short flags: -d, -i, -P, -t and -q take no value and may stand together; the first other one takes the rest.
		kept, takes := shortFlags(word[1:])
		if kept != "" {
			create = append(create, "-"+kept)
		}
		if takes {
			if i++; i == len(run) {
				return nil, usagef("run: %s needs a value", word)
			}
			create = append(create, run[i])
		}
	}
	return nil, usagef("run: name the image")
}

// shortFlags drops -d from a bundle, and says whether its last flag takes the next argument as its value.
func shortFlags(bundle string) (kept string, takes bool) {
	for i, c := range bundle {
		switch {
		case c == 'd':
		case strings.ContainsRune("iPtq", c):
			kept += string(c)
		default:
			return kept + bundle[i:], i == len(bundle)-1
		}
	}
	return kept, false
}

// finish appends the image and its command.
func finish(create, rest, image []string) ([]string, error) {
	if len(image) == 0 {
		return nil, usagef("run: name the image")
	}
	return append(create, rest...), nil
}
