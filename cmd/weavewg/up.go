package main

import (
	"context"
	"errors"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/wgmesh/node"
)

// newUpCommand runs this node.
func newUpCommand(a *app) *cobra.Command {
	var detach, report bool
	cmd := &cobra.Command{
		Use: "up", Short: "Run this node; with -d in the background, returning when it is ready",
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if detach {
				return a.upDetached(cmd)
			}
			return a.up(cmd, report)
		},
	}
	cmd.Flags().BoolVarP(&detach, "detach", "d", false, "return when sockets and datapath stand, and run on")
	cmd.Flags().BoolVar(&report, "report", false, "say on descriptor 3 how the start went")
	_ = cmd.Flags().MarkHidden("report") // fails only for a flag that is not there
	config.Flags(cmd.Flags())
	return cmd
}

// zapWriter is where a logger writes; nil means standard error.
type zapWriter = zapcore.WriteSyncer

// errStarted is a daemon in the background that did not come up.
var errStarted = errors.New("weavewg did not come up")

// reportFD is where a daemon started by `up -d` says "ok" or its error.
const reportFD = 3

// up runs the node in the foreground until the context ends.
func (a *app) up(cmd *cobra.Command, report bool) (err error) {
	starter := &starter{}
	if report {
		unix.CloseOnExec(reportFD)                                // the keeper must not hold it open
		_ = os.WriteFile("/proc/self/comm", []byte("weavewg"), 0) // "exe" otherwise; only how ps and we name the process
		starter.to = os.NewFile(reportFD, "report")
	}
	defer func() { err = starter.failed(err) }()
	load := func() (*config.Config, error) {
		return a.load(config.Sources{Flags: cmd.Flags(), Routes: hostRoutes()})
	}
	c, err := load()
	if err != nil {
		return err
	}
	if err := mayRun(); err != nil {
		return err
	}
	var to zapWriter
	if report {
		to = &boundedFile{file: os.Stderr}
	}
	log, level, err := newLogger(c.Log, to, a.err)
	if err != nil {
		return err
	}
	for _, w := range c.Warnings {
		log.Warn(w, zap.String("evt", "config"))
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	manager := newSupervised(config.Socket(c.RunDir), log)
	defer func() { cancel(); manager.stopped() }()
	defer spareMemory(ctx)()
	return node.Run(ctx, node.Options{
		Config: c, Load: load, Version: version, Logger: log, Level: level,
		Ready: func() { manager.ready(ctx); starter.ok() },
	})
}

// mayRun says what this process lacks to run a node.
func mayRun() error {
	if err := mustBeRoot("weavewg up makes interfaces and namespaces"); err != nil {
		return err
	}
	return mustHaveRights("weavewg up", "to make interfaces and namespaces: give the container these")
}

// starter tells the `up -d` that started this process how the start went, once.
type starter struct{ to *os.File }

func (s *starter) ok() { s.say("ok") }

func (s *starter) failed(err error) error {
	if err != nil {
		s.say(err.Error())
	}
	return err
}

func (s *starter) say(text string) {
	if s.to == nil {
		return
	}
	_, _ = s.to.WriteString(text) // whoever listened is gone: nobody to tell
	s.to.Close()
	s.to = nil
}
