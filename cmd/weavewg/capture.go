package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/capture"
	"github.com/weavewg/weavewg/services/api"
)

func newCaptureCommand(a *app) *cobra.Command {
	var file string
	var count int
	cmd := &cobra.Command{
		Use: "capture [NETWORK] [-w FILE] [--count N]", Short: "Show frames with the verdict that each met, live or as pcapng", Args: args(0, 1),
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, given []string) error {
			if count < 0 {
				return usagef("--count: %d is negative", count)
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			each := func(f api.CapturedFrame) error {
				_, err := fmt.Fprintln(a.out, frameLine(f))
				return err
			}
			if file != "" {
				r, err := a.recordTo(file)
				if err != nil {
					return err
				}
				defer r.Close()
				each = r.record
			}
			return untilCount(cmd.Context(), count, func(ctx context.Context, done func() error) error {
				return c.Capture(ctx, first(given), func(f api.CapturedFrame) error { return errors.Join(each(f), done()) })
			})
		},
	}
	cmd.Flags().StringVarP(&file, "write", "w", "", "pcapng file to write, for wireshark; -: standard output")
	cmd.Flags().IntVarP(&count, "count", "n", 0, "end after so many frames; 0: until interrupted")
	return cmd
}

// errEnough ends a stream that has given what was asked for.
var errEnough = errors.New("enough")

// untilCount runs a stream until done was called count times (0: always) or ctx ends; both are no error.
func untilCount(ctx context.Context, count int, stream func(ctx context.Context, done func() error) error) error {
	seen := 0
	err := stream(ctx, func() error {
		if seen++; seen == count {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// frameLine is one frame for people: time, network, where it came from, what became of it, what it is.
func frameLine(f api.CapturedFrame) string {
	line := fmt.Sprintf("%s %s %s | %s", time.Unix(0, f.TimeNS).Format("15:04:05.000000"), f.Network, verdict(f), l2bridge.Describe(f.Data))
	if f.Missed > 0 {
		line = fmt.Sprintf("(%d frames missed)\n%s", f.Missed, line)
	}
	return line
}

// verdict says what became of a frame.
func verdict(f api.CapturedFrame) string {
	if f.Peer == "" {
		return f.From + ": " + f.Verdict
	}
	if f.From == "port" {
		return fmt.Sprintf("%s: %s (%s)", f.From, f.Verdict, f.Peer)
	}
	return fmt.Sprintf("%s, from %s: %s", f.From, f.Peer, f.Verdict)
}

// recording writes frames to a pcapng file, so that each is there when the command is interrupted.
type recording struct {
	to       io.WriteCloser
	recorder *capture.Recorder
}

func (a *app) recordTo(file string) (*recording, error) {
	if file == "-" {
		return &recording{to: keptOpen{a.out}}, nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &recording{to: f}, nil
}

func (r *recording) record(f api.CapturedFrame) error {
	if r.recorder == nil {
		var err error
		if r.recorder, err = capture.NewRecorder(r.to, "weavewg "+version, f.Network); err != nil {
			return err
		}
	}
	if err := r.recorder.Record(f.Network, time.Unix(0, f.TimeNS), f.Data, verdict(f)); err != nil {
		return err
	}
	return r.recorder.Flush()
}

// Close ends the file.
func (r *recording) Close() error { return r.to.Close() }

// keptOpen is standard output, which is not ours to close.
type keptOpen struct{ io.Writer }

func (keptOpen) Close() error { return nil }
