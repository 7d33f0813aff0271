package bench

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// Contender is one way to join two hosts. To add one, implement it and put it into Contenders.
type Contender interface {
	// Name is the row of the table.
	Name() string
	// Kind groups variants of one thing: the best of a kind is what floors are held against.
	Kind() Kind
	// Start joins the pair's hosts and returns between what to measure. It returns once packets can pass.
	Start(ctx context.Context, p *Pair) (Route, error)
	// Stop ends what Start began, also when Start failed half way.
	Stop(ctx context.Context) error
}

// Kind is what a contender is a variant of.
type Kind string

// The kinds.
const (
	Bare      Kind = "bare WireGuard"
	HandMade  Kind = "hand-made VXLAN"
	OtherL2   Kind = "fastd"
	Candidate Kind = "weavewg"
)

// Route is what a contender offers: two ends, and the address at which From reaches To.
type Route struct {
	From, To *lab.Host
	Addr     netip.Addr
}

// waitFor asks until the answer is yes. Its patience is the context's.
func waitFor(ctx context.Context, what string, ready func() bool) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// answers waits until a route carries a ping.
func (r Route) answers(ctx context.Context) error {
	return waitFor(ctx, "a ping from "+r.From.Name()+" to "+r.Addr.String(), func() bool {
		report, err := lab.Ping(ctx, r.From, lab.PingSpec{To: r.Addr, Count: 1, Timeout: 200 * time.Millisecond})
		return err == nil && report.Lost() == 0
	})
}
