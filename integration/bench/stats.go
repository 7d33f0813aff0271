package bench

import (
	"math"
	"math/rand/v2"
	"slices"
)

// quantile returns the value below which a share q of the values lies, between neighbours by proportion; NaN of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// Estimate is a median with its 95 % bootstrap interval.
type Estimate struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// resamples of the bootstrap; the interval's ends are then stable to about 1 %.
const resamples = 10_000

// estimate draws as many values as there are, with replacement, again and again, and takes the middle 95 % of their
// medians (Efron's percentile interval). The draws are seeded: the same values give the same interval.
func estimate(values []float64) Estimate {
	if len(values) == 0 {
		return Estimate{math.NaN(), math.NaN(), math.NaN()}
	}
	random := rand.New(rand.NewPCG(1, uint64(len(values))))
	medians := make([]float64, resamples)
	draw := make([]float64, len(values))
	for i := range medians {
		for j := range draw {
			draw[j] = values[random.IntN(len(values))]
		}
		medians[i] = quantile(draw, 0.5)
	}
	return Estimate{quantile(values, 0.5), quantile(medians, 0.025), quantile(medians, 0.975)}
}

// ratios divides pair by pair.
func ratios(over, under []float64) []float64 {
	out := make([]float64, 0, len(over))
	for i := range min(len(over), len(under)) {
		if under[i] != 0 {
			out = append(out, over[i]/under[i])
		}
	}
	return out
}
