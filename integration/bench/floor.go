package bench

// floors are the least ratios of TCP throughput that weavewg has to reach, with the underlay's offloads on, against the
// best contender of each kind.
var floors = []struct {
	kind  Kind
	ratio float64
}{{HandMade, 3}, {OtherL2, 1.5}, {Bare, 0.6}}

// allowance is how far below a floor the lower end of the interval may be.
const allowance = 0.05

// Verdict says whether a floor was reached.
type Verdict struct {
	Kind    Kind     `json:"kind"`
	Against string   `json:"against"` // the best of the kind
	Floor   float64  `json:"floor"`
	Ratio   Estimate `json:"ratio"`
	Met     bool     `json:"met"`
}

func (v Verdict) word() string {
	if v.Met {
		return "met"
	}
	return "missed: " + v.Ratio.String() + " of " + v.Against
}

// Verdicts holds the table against the floors. A floor that nothing was measured for is left out.
func (t Table) Verdicts() []Verdict {
	over, measured := t.best(Candidate)
	if !measured || !t.Offloads {
		return nil
	}
	var all []Verdict
	for _, floor := range floors {
		under, measured := t.best(floor.kind)
		if !measured {
			continue
		}
		ratio := compare(over, under).TCP
		all = append(all, Verdict{
			Kind: floor.kind, Against: under.Name, Floor: floor.ratio, Ratio: ratio,
			Met: ratio.Median >= floor.ratio && ratio.Low >= floor.ratio-allowance,
		})
	}
	return all
}

// best is the fastest variant of a kind, by its median.
func (t Table) best(kind Kind) (best Row, measured bool) {
	for _, row := range t.Rows {
		if row.Kind == kind && row.Error == "" && len(row.Samples) > 0 &&
			(!measured || quantile(row.mbits(), 0.5) > quantile(best.mbits(), 0.5)) {
			best, measured = row, true
		}
	}
	return best, measured
}
