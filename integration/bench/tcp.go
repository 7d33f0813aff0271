package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// TCP is one stream of iperf3.
type TCP struct {
	Mbits       float64 `json:"mbits"`       // megabits a second, as received
	CPUPerGiB   float64 `json:"cpu_per_gib"` // seconds of all processors, both ends and iperf3 included
	Retransmits int     `json:"retransmits"`
}

// measureTCP sends one stream for so long, in whole seconds, after one second of start that does not count.
func measureTCP(ctx context.Context, r Route, length time.Duration) (TCP, error) {
	server, err := r.To.Start(ctx, "iperf3", "--server", "--one-off", "--forceflush", "--bind", r.Addr.String())
	if err != nil {
		return TCP{}, err
	}
	defer func() { _ = server.Signal(syscall.SIGKILL) }() // it has ended, if all went well
	err = waitFor(ctx, "iperf3's server", func() bool { return strings.Contains(server.Output().Stdout, "listening") })
	if err != nil {
		return TCP{}, err
	}
	before, err := cpuTime()
	if err != nil {
		return TCP{}, err
	}
	seconds := strconv.Itoa(int(length.Seconds()))
	out, err := lab.Must(ctx, r.From, "iperf3", "--client", r.Addr.String(), "--time", seconds, "--omit", "1", "--json")
	if err != nil {
		return TCP{}, err
	}
	after, err := cpuTime()
	if err != nil {
		return TCP{}, err
	}
	return readIperf([]byte(out), after-before)
}

// readIperf reads iperf3's own report. The processors' time covers the omitted second too, so its bytes count there.
func readIperf(out []byte, cpu time.Duration) (TCP, error) {
	var report struct {
		Error     string
		Intervals []struct {
			Sum struct{ Bytes float64 }
		}
		End struct {
			Sent     struct{ Retransmits int } `json:"sum_sent"`
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		}
	}
	if err := json.Unmarshal(out, &report); err != nil {
		return TCP{}, fmt.Errorf("iperf3: %w", err)
	}
	if report.Error != "" {
		return TCP{}, errors.New("iperf3: " + report.Error)
	}
	var bytes float64
	for _, interval := range report.Intervals {
		bytes += interval.Sum.Bytes
	}
	if bytes == 0 || report.End.Received.BitsPerSecond == 0 {
		return TCP{}, errors.New("iperf3: nothing was carried")
	}
	return TCP{
		Mbits:       report.End.Received.BitsPerSecond / 1e6,
		CPUPerGiB:   cpu.Seconds() / (bytes / (1 << 30)),
		Retransmits: report.End.Sent.Retransmits,
	}, nil
}
