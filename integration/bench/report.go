package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// Report writes the tables for people: a row's own medians, and below, how weavewg compares with each other contender.
func (r Result) Report(out io.Writer) error {
	fmt.Fprintf(out, "%s, Linux %s, %d processors, load before %s, %d pairs\n", r.When.Format("2006-01-02"), r.Kernel, r.Procs, r.Load, r.Plan.Pairs)
	for _, table := range r.Tables {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "\nunderlay offloads %s\n", onOff(table.Offloads))
		fmt.Fprintln(w, "contender\tTCP Mbit/s\tCPU-s/GiB\tpackets/s\tping ms median\tp99\tlost")
		for _, row := range table.Rows {
			if row.Error != "" {
				fmt.Fprintf(w, "%s\tnot measured: %s\n", row.Name, row.Error)
				continue
			}
			l := row.Latency
			fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.0f\t%.3f\t%.2f\t%d of %d\n", row.Name, quantile(row.mbits(), 0.5),
				quantile(row.cpu(), 0.5), quantile(row.rates(), 0.5), l.Median, l.P99, l.Lost, l.Count)
		}
		fmt.Fprintln(w) // ends the columns
		for _, c := range table.Comparisons() {
			fmt.Fprintf(w, "%s against %s\tTCP %s\tpackets/s %s\n", c.Over, c.Under, c.TCP, c.Rate)
		}
		for _, v := range table.Verdicts() {
			fmt.Fprintf(w, "floor: TCP at least %.1f of %s\t%s\n", v.Floor, v.Kind, v.word())
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// Comparison is how one contender does against another, by ratios of pairs.
type Comparison struct {
	Over  string   `json:"over"`
	Under string   `json:"under"`
	TCP   Estimate `json:"tcp"`
	Rate  Estimate `json:"rate"`
}

// String is "1.23 (1.18–1.30)".
func (e Estimate) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", e.Median, e.Low, e.High) }

// Comparisons puts weavewg against all others.
func (t Table) Comparisons() []Comparison {
	over := slices.IndexFunc(t.Rows, func(r Row) bool { return r.Kind == Candidate && r.Error == "" })
	var all []Comparison
	for i, under := range t.Rows {
		if over >= 0 && i != over && under.Error == "" {
			all = append(all, compare(t.Rows[over], under))
		}
	}
	return all
}

func compare(over, under Row) Comparison {
	return Comparison{over.Name, under.Name,
		estimate(ratios(over.mbits(), under.mbits())), estimate(ratios(over.rates(), under.rates()))}
}

func (r Row) mbits() []float64 { return r.column(func(s Sample) float64 { return s.TCP.Mbits }) }
func (r Row) cpu() []float64   { return r.column(func(s Sample) float64 { return s.TCP.CPUPerGiB }) }
func (r Row) rates() []float64 { return r.column(func(s Sample) float64 { return float64(s.Rate) }) }

func (r Row) column(value func(Sample) float64) []float64 {
	all := make([]float64, len(r.Samples))
	for i, sample := range r.Samples {
		all[i] = value(sample)
	}
	return all
}

// Save writes the table and the JSON into a folder, under the time of the run, and returns the JSON's path.
func (r Result) Save(dir string) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	base := filepath.Join(dir, r.When.Format("2006-01-02T15-04-05"))
	type saved struct {
		Result
		Comparisons [][]Comparison `json:"comparisons"` // of each table
		Verdicts    [][]Verdict    `json:"verdicts"`    // of each table
	}
	whole := saved{Result: r}
	for _, table := range r.Tables {
		whole.Comparisons = append(whole.Comparisons, table.Comparisons())
		whole.Verdicts = append(whole.Verdicts, table.Verdicts())
	}
	data, err := json.MarshalIndent(whole, "", " ")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(base+".json", append(data, '\n'), 0o644); err != nil {
		return "", err
	}
	text, err := os.Create(base + ".txt")
	if err != nil {
		return "", err
	}
	return base + ".json", errors.Join(r.Report(text), text.Close())
}

// MarshalJSON writes what could not be estimated as null: JSON has no NaN.
func (e Estimate) MarshalJSON() ([]byte, error) {
	if math.IsNaN(e.Median) {
		return []byte("null"), nil
	}
	type plain Estimate
	return json.Marshal(plain(e))
}
