package bench

import "testing"

func row(name string, kind Kind, mbits ...float64) Row {
	r := Row{Name: name, Kind: kind}
	for _, m := range mbits {
		r.Samples = append(r.Samples, Sample{TCP: TCP{Mbits: m}})
	}
	return r
}

func TestVerdictsTakeTheBestOfAKind(t *testing.T) {
	table := Table{Offloads: true, Rows: []Row{
		row("slow", Bare, 100, 110, 90), row("fast", Bare, 1000, 1100, 900),
		{Name: "broken", Kind: HandMade, Error: "did not start"},
		row("fastd", OtherL2, 500, 500, 500),
		row("weavewg", Candidate, 700, 770, 640),
	}}
	got := table.Verdicts()
	if len(got) != 2 {
		t.Fatalf("got %+v", got)
	}
	if v := got[0]; v.Kind != OtherL2 || v.Met || v.Ratio.Median != 1.4 {
		t.Errorf("fastd: %+v", v)
	}
	if v := got[1]; v.Against != "fast" || !v.Met || v.Ratio.Median != 0.7 {
		t.Errorf("bare: %+v", v)
	}
	table.Offloads = false
	if got := table.Verdicts(); got != nil {
		t.Errorf("floors are for offloads on: %+v", got)
	}
}

// A median at the floor does not help when the interval reaches far below it.
func TestVerdictsLookAtTheInterval(t *testing.T) {
	under := row("bare", Bare, 100, 100, 100, 100, 100, 100, 100, 100, 100)
	for name, c := range map[string]struct {
		mbits []float64
		met   bool
	}{
		"steady": {[]float64{60, 60, 60, 60, 61, 61, 61, 62, 62}, true},
		"wild":   {[]float64{20, 20, 20, 20, 61, 90, 90, 90, 90}, false},
		"below":  {[]float64{59, 59, 59, 59, 59, 59, 59, 59, 59}, false},
	} {
		got := Table{Offloads: true, Rows: []Row{under, row("weavewg", Candidate, c.mbits...)}}.Verdicts()
		if len(got) != 1 || got[0].Met != c.met {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
