package bench

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 1, 3, 2}, 0.5, 2.5},
		{[]float64{1, 2, 3, 4, 5}, 0, 1},
		{[]float64{1, 2, 3, 4, 5}, 1, 5},
		{[]float64{0, 10}, 0.99, 9.9},
	} {
		if got := quantile(c.values, c.q); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("quantile(%v, %v) = %v, want %v", c.values, c.q, got, c.want)
		}
	}
	if !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("no values have a median")
	}
}

// The interval of an estimate holds the true median about 95 times in 100.
func TestEstimateCoversTheTruth(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	const runs = 200
	covered := 0
	for range runs {
		values := make([]float64, 9)
		for i := range values {
			values[i] = 3 + random.NormFloat64()
		}
		if e := estimate(values); e.Low <= 3 && 3 <= e.High {
			covered++
		}
	}
	if share := float64(covered) / runs; share < 0.88 {
		t.Errorf("the interval held the truth in %.0f %% of the runs", share*100)
	}
}

func TestEstimateOfEqualValuesIsSure(t *testing.T) {
	if got := estimate([]float64{2, 2, 2}); got != (Estimate{2, 2, 2}) {
		t.Errorf("got %v", got)
	}
	if text, err := json.Marshal(estimate(nil)); err != nil || string(text) != "null" {
		t.Errorf("no values: %s, %v", text, err)
	}
}

func TestRatiosGoPairByPair(t *testing.T) {
	got := ratios([]float64{2, 9, 5}, []float64{1, 3, 0})
	if len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("got %v", got)
	}
}

// The bisection comes within its 6 % of any limit, from any guess, and never returns a rate that does not pass.
func TestHighestFindsTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.IntRange(1, highestRate).Draw(t, "limit")
		guess := rapid.IntRange(0, highestRate).Draw(t, "guess")
		tries := 0
		got, err := highest(guess, func(rate int) (bool, error) {
			tries++
			return rate <= limit, nil
		})
		switch {
		case err != nil:
			t.Fatal(err)
		case tries > 40:
			t.Errorf("took %d tries", tries)
		case got > limit:
			t.Errorf("%d does not pass, the limit is %d", got, limit)
		case limit >= 2*lowestRate && limit < highestRate/2 && float64(got)*1.07 < float64(limit):
			t.Errorf("found %d, the limit is %d", got, limit)
		}
	})
}
