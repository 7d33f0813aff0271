package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// demoLimit is how long the demo may take: something hangs if it does.
const demoLimit = 60 * time.Second

func newDemoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "A three-host mesh in namespaces on this machine, shown working",
		Long: "demo makes three hosts out of network namespaces of this machine, runs a weavewg daemon on each, plugs a\n" +
			"container-like namespace into each and sends real traffic between them, while it watches the cable between\n" +
			"the hosts. It installs nothing, touches nothing of this machine's own network, and removes everything when it\n" +
			"ends or is interrupted.",
		Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := demoPossible(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), demoLimit, fmt.Errorf("not done after %v", demoLimit))
			defer cancel()
			return runDemo(ctx, cmd.OutOrStdout())
		},
	}
}

// demoPossible says in one line why this machine cannot run the demo, if it cannot.
func demoPossible() error {
	if err := mustHaveRights("demo", "to make network namespaces: sudo weavewg demo"); err != nil {
		return err
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return errors.New("demo needs /dev/net/tun, which this machine does not give: modprobe tun, " +
			"or start the container with --device /dev/net/tun")
	}
	return tun.Close()
}

// demo is one run: what it built and what it prints.
type demo struct {
	out   io.Writer
	start time.Time
	stage *demoStage
	watch *demoWatch

	inside int // times that the canary was seen in the container that it was sent to
}

func runDemo(ctx context.Context, out io.Writer) (err error) {
	d := &demo{out: out, start: time.Now()}
	d.say("Three hosts, alpha, beta and gamma, made of network namespaces of this machine.")
	d.say("A cable joins them that anybody could listen to: the underlay, 192.0.2.0/24.")
	if d.stage, err = newDemoStage(); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() {
		if closeErr := d.stage.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("demo: clean up: %w", closeErr))
		}
		if err == nil {
			fmt.Fprintf(out, "\ndemo ok (%.1f s)\n", time.Since(d.start).Seconds())
		}
	}()
	if err := d.play(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("demo: %w: %w", context.Cause(ctx), err)
		}
		fmt.Fprintf(out, "\n%s", d.stage.Report())
		return fmt.Errorf("demo: %w", err)
	}
	return nil
}

// play is the demo itself, act by act.
func (d *demo) play(ctx context.Context) error {
	var err error
	if d.watch, err = d.stage.Watch(ctx); err != nil {
		return err
	}
	defer d.watch.Stop()
	for _, act := range []func(context.Context) error{d.bringUp, d.plugIn, d.traffic, d.tables, d.underlay} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// say begins a new act.
func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// did reports one thing that was shown.
func (d *demo) did(what, format string, args ...any) {
	fmt.Fprintf(d.out, "  %-11s %s\n", what, fmt.Sprintf(format, args...))
}
