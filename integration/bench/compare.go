package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// Plan says what to measure and how long.
type Plan struct {
	Pairs    int           `json:"pairs"`     // rounds: each measures every contender once
	Stream   time.Duration `json:"stream_ns"` // of one TCP stream, whole seconds
	Step     time.Duration `json:"step_ns"`   // of one try of a packet rate
	Pings    int           `json:"pings"`     // of each contender, alternating
	Offloads []bool        `json:"offloads"`  // of the underlay: on, off, or both
}

// Sample is one contender in one round.
type Sample struct {
	TCP  TCP `json:"tcp"`
	Rate int `json:"packets_per_second"` // largest paced rate of 64-byte payloads with < 5 % loss
}

// Row is all of one contender.
type Row struct {
	Name    string   `json:"name"`
	Kind    Kind     `json:"kind"`
	Samples []Sample `json:"samples"`
	Latency Latency  `json:"latency"`
	Error   string   `json:"error,omitempty"` // why it could not be measured
}

// Table is one comparison with the underlay's offloads on or off.
type Table struct {
	Offloads bool  `json:"offloads"`
	Rows     []Row `json:"rows"`
}

// Result is everything, with what it was measured on.
type Result struct {
	Schema string    `json:"schema"`
	When   time.Time `json:"when"`
	Kernel string    `json:"kernel"`
	Procs  int       `json:"processors"`
	Load   string    `json:"load_before"` // /proc/loadavg
	Plan   Plan      `json:"plan"`
	Tables []Table   `json:"tables"`
}

// Compare starts every contender on a pair of its own and measures them in turn, round by round. say gets a line for
// each step. A contender that does not start has its reason in its row, and Compare returns an error at the end.
func Compare(ctx context.Context, l *lab.Lab, contenders []Contender, plan Plan, say func(format string, args ...any)) (result Result, err error) {
	result = Result{Schema: "weavewg.bench/v1", When: time.Now().UTC(), Procs: runtime.NumCPU(), Plan: plan}
	if result.Kernel, err = line("/proc/sys/kernel/osrelease"); err != nil {
		return result, err
	}
	if result.Load, err = line("/proc/loadavg"); err != nil {
		return result, err
	}
	all := make([]entry, len(contenders))
	for i, contender := range contenders {
		all[i] = entry{Contender: contender}
		if all[i].pair, err = NewPair(l, fmt.Sprintf("pair%d", i)); err != nil {
			return result, err
		}
		patience, cancel := context.WithTimeout(ctx, time.Minute)
		all[i].route, all[i].broken = contender.Start(patience, all[i].pair)
		cancel()
		defer func() {
			patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			if stopped := contender.Stop(patience); stopped != nil && all[i].broken == nil {
				err = errors.Join(err, fmt.Errorf("stop %s: %w", contender.Name(), stopped))
			}
		}()
		if all[i].broken != nil {
			say("%s: %v", contender.Name(), all[i].broken)
			err = errors.Join(err, fmt.Errorf("%s: %w", contender.Name(), all[i].broken))
		}
	}
	for _, offloads := range plan.Offloads {
		table, failed := compareOnce(ctx, all, plan, offloads, say)
		result.Tables = append(result.Tables, table)
		err = errors.Join(err, failed)
		if ctx.Err() != nil {
			return result, err
		}
	}
	return result, err
}

// entry is a contender that was started, or the reason why not.
type entry struct {
	Contender
	pair   *Pair
	route  Route
	broken error
	rate   int // of the last round: where the next begins to search
}

const firstGuess = 8000 // packets a second

func compareOnce(ctx context.Context, all []entry, plan Plan, offloads bool, say func(string, ...any)) (Table, error) {
	table := Table{Offloads: offloads, Rows: make([]Row, len(all))}
	var errs []error
	for i := range all {
		table.Rows[i].Name, table.Rows[i].Kind = all[i].Name(), all[i].Kind()
		all[i].rate = firstGuess
		if all[i].broken != nil {
			table.Rows[i].Error = all[i].broken.Error()
			continue
		}
		errs = append(errs, all[i].pair.SetOffloads(offloads))
	}
	for round := range plan.Pairs {
		for i := range all {
			if table.Rows[i].Error != "" {
				continue
			}
			sample, err := measure(ctx, &all[i], plan)
			if err != nil {
				table.Rows[i].Error = err.Error()
				errs = append(errs, fmt.Errorf("%s: %w", all[i].Name(), err))
				continue
			}
			say("round %d of %d, offloads %s: %-42s %6.0f Mbit/s %6.1f CPU-s/GiB %7d packets/s", round+1, plan.Pairs,
				onOff(offloads), all[i].Name(), sample.TCP.Mbits, sample.TCP.CPUPerGiB, sample.Rate)
			table.Rows[i].Samples = append(table.Rows[i].Samples, sample)
		}
	}
	var rows []*Row
	var routes []Route
	for i := range all {
		if table.Rows[i].Error == "" {
			rows, routes = append(rows, &table.Rows[i]), append(routes, all[i].route)
		}
	}
	latencies, err := measurePings(ctx, routes, plan.Pings)
	for i, latency := range latencies {
		rows[i].Latency = latency
	}
	return table, errors.Join(append(errs, err)...)
}

// measure takes one sample. A contender whose host fragmented meanwhile was set up unfairly: that is an error.
func measure(ctx context.Context, e *entry, plan Plan) (Sample, error) {
	ctx, cancel := context.WithTimeout(ctx, plan.Stream+60*plan.Step+time.Minute)
	defer cancel()
	before, err := e.pair.Fragments()
	if err != nil {
		return Sample{}, err
	}
	var sample Sample
	if sample.TCP, err = measureTCP(ctx, e.route, plan.Stream); err != nil {
		return sample, err
	}
	if sample.Rate, err = measureRate(ctx, e.route, e.rate, plan.Step); err != nil {
		return sample, err
	}
	e.rate = max(sample.Rate, lowestRate)
	after, err := e.pair.Fragments()
	if err == nil && after != before {
		err = fmt.Errorf("its packets were fragmented (%d fragments)", after-before)
	}
	return sample, err
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func line(path string) (string, error) {
	text, err := os.ReadFile(path)
	return strings.TrimSpace(string(text)), err
}
