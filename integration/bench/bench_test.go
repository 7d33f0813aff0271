package bench

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

var (
	pairs   = flag.Int("pairs", 1, "rounds; a figure that is to be believed needs 9")
	results = flag.String("results", "", "folder for the table and the JSON")
	program = flag.String("weavewg", "../../bin/weavewg", "the program to measure")
	stream  = flag.Duration("stream", 5*time.Second, "length of one TCP stream when -pairs is above 1")
	step    = flag.Duration("step", 1500*time.Millisecond, "length of one try of a packet rate when -pairs is above 1")
	only    = flag.String("only", "", "measure only contenders whose name contains this")
)

// plan is short when it only shows that the harness works, and long when it is asked for figures.
func plan() Plan {
	p := Plan{Pairs: *pairs, Stream: 2 * time.Second, Step: 300 * time.Millisecond, Pings: 50, Offloads: []bool{true}}
	if *pairs > 1 {
		p.Stream, p.Step, p.Pings, p.Offloads = *stream, *step, 3000, []bool{true, false}
	}
	return p
}

// contenders are the rows of the table; weavewg is the last, and compared with all others.
func contenders(t *testing.T, ctx context.Context, l *lab.Lab) []Contender {
	t.Helper()
	weavewg, err := filepath.Abs(*program)
	if err != nil {
		t.Fatal(err)
	}
	var all []Contender
	if KernelHasWireGuard(l.Underlay()) {
		all = []Contender{&WireGuard{Interface: "bw"}, &VXLAN{WireGuard{Interface: "bx"}}}
	} else {
		child := filepath.Join(t.TempDir(), "wireguard-go")
		if err := BuildWireGuardGo(ctx, child); err != nil {
			t.Fatal(err)
		}
		all = []Contender{
			&WireGuard{Program: child, Interface: "bw0"},
			&WireGuard{Program: child, Interface: "bw1", Procs: 1},
			&VXLAN{WireGuard{Program: child, Interface: "bx0"}},
			&VXLAN{WireGuard{Program: child, Interface: "bx1", Procs: 1}},
		}
	}
	all = append(all, &Fastd{}, &Weavewg{Program: weavewg})
	var wanted []Contender
	for _, contender := range all {
		if strings.Contains(contender.Name(), *only) {
			wanted = append(wanted, contender)
		}
	}
	return wanted
}

func TestCompare(t *testing.T) {
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	l, err := lab.New()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	result, err := Compare(ctx, l, contenders(t, ctx, l), plan(), func(format string, args ...any) { t.Logf(format, args...) })
	if err != nil {
		t.Error(err)
	}
	if err := result.Report(os.Stdout); err != nil {
		t.Error(err)
	}
	for _, table := range result.Tables {
		for _, row := range table.Rows {
			if row.Error == "" && row.Latency.Lost == row.Latency.Count {
				t.Errorf("%s: no ping was answered", row.Name)
			}
		}
	}
	if *pairs >= 9 {
		for _, table := range result.Tables {
			for _, verdict := range table.Verdicts() {
				if !verdict.Met {
					t.Errorf("TCP is %s of %s, the floor is %v", verdict.Ratio, verdict.Against, verdict.Floor)
				}
			}
		}
	}
	if *results == "" {
		return
	}
	path, err := result.Save(*results)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("saved as %s", path)
}
