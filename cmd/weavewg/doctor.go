package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/docker"
	"github.com/weavewg/weavewg/services/doctor"
	"github.com/weavewg/weavewg/topology/control"
	"github.com/weavewg/weavewg/wgmesh/wgdev"
)

func newDoctorCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor [--json]", Short: "Say what this host has and lacks for weavewg, and what follows", Args: args(0, 0), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := mustBeRoot("weavewg doctor tries interfaces and namespaces out"); err != nil {
				return err
			}
			f := doctor.Examine()
			f.Findings = append(f.Findings, a.examineSetup(cmd.Context())...)
			var err error
			if asJSON {
				err = a.printJSON(f)
			} else {
				err = writeFindings(a.out, f)
			}
			if err == nil && f.Fatal() {
				err = degradedError{"something essential lacks: see the lines marked fatal"}
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// examineSetup looks at the configuration, the ports that it names, the daemon and docker.
func (a *app) examineSetup(ctx context.Context) []doctor.Finding {
	var findings []doctor.Finding
	c, err := a.load(config.Sources{Routes: hostRoutes()})
	switch {
	case errors.Is(err, config.ErrNoFile):
		findings = append(findings, doctor.Finding{What: "configuration", State: doctor.Warn, Found: "none", Follows: "weavewg up needs one", Try: "weavewg init"})
	case err != nil:
		findings = append(findings, doctor.Finding{What: "configuration", State: doctor.Fatal, Found: err.Error(), Follows: "weavewg up refuses it", Try: "correct it; weavewg config check"})
	default:
		findings = append(findings, doctor.Finding{What: "configuration", State: doctor.OK, Found: c.File, Follows: strings.Join(c.Warnings, "; ")}, examineSecret(c))
	}
	running, client := false, doctor.Finding{What: "daemon", State: doctor.OK, Found: "not running", Follows: "weavewg up -d starts it"}
	if asked, err := a.client(); err == nil {
		defer asked.Close()
		if s, err := asked.Status(ctx); err == nil {
			running = true
			client.Found, client.Follows = fmt.Sprintf("running (pid %d)", s.Node.PID), "weavewg status tells how it is"
		}
	}
	findings = append(findings, client)
	if c != nil && !running {
		findings = append(findings, examinePorts(c)...)
	}
	return append(findings, examineDocker(ctx))
}

func examineSecret(c *config.Config) doctor.Finding {
	f := doctor.Finding{What: "mesh secret", State: doctor.OK, Found: c.SecretFile}
	if _, err := control.LoadSecrets(c.SecretFile); err != nil {
		f = doctor.Finding{What: "mesh secret", State: doctor.Fatal, Found: err.Error(), Follows: "weavewg up refuses to start"}
	}
	return f
}

// examinePorts says who has the ports that the configuration names.
func examinePorts(c *config.Config) (findings []doctor.Finding) {
	for _, port := range append([]uint16{c.Listen.Port}, c.Listen.AlsoTCP...) {
		findings = append(findings, examinePort("tcp", port))
	}
	return append(findings, examinePort("udp", c.Listen.Port))
}

func examinePort(proto string, port uint16) doctor.Finding {
	f := doctor.Finding{What: fmt.Sprintf("port %d/%s", port, proto), State: doctor.OK, Found: "free"}
	err := wgdev.CheckPort(proto, port)
	if who := wgdev.WhoHas(proto, port); err != nil && strings.HasPrefix(who, "wg-") {
		f.Found, f.Follows = "taken by "+who, "it is the data plane that the last run left: weavewg up adopts it"
	} else if err != nil {
		f.State, f.Found, f.Follows, f.Try = doctor.Fatal, err.Error(), "weavewg up refuses to start", "set listen.port, or end what has it"
	}
	return f
}

func examineDocker(ctx context.Context) doctor.Finding {
	host, err := docker.Version(ctx)
	if err != nil {
		return doctor.Finding{
			What: "docker", State: doctor.Missing, Found: err.Error(), Follows: "attach takes a pid or the path of a network namespace, not a container's name",
		}
	}
	return doctor.Finding{What: "docker", State: doctor.OK, Found: host, Follows: "containers can be attached by name"}
}

// writeFindings prints a line each, and below what is not well what to try.
func writeFindings(w io.Writer, f doctor.Findings) error {
	t := newTable(w, "WHAT", "STATE", "FOUND", "WHAT FOLLOWS")
	for _, one := range f.Findings {
		t.row(one.What, one.State, one.Found, one.Follows)
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, one := range f.Findings {
		if one.State != doctor.OK && one.Try != "" {
			fmt.Fprintf(w, "\n%s: %s\n", one.What, one.Try)
		}
	}
	return nil
}
