package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/wgmesh"
)

// reconciler makes the device what the core wants: observe, diff, apply, observe, and tell the core. It does so when the
// spec changes, when the kernel says that something changed, and now and then without a reason.
type reconciler struct {
	device wgmesh.Device
	post   func(wgmesh.Event)
	log    *zap.Logger
	busy   func() bool // the core waits for a handshake: look often

	mu         sync.Mutex
	spec       wgmesh.DeviceSpec
	generation uint64
	wake       chan struct{}
	problem    func(error)
}

const (
	observeBusy = 50 * time.Millisecond
	observeCalm = 5 * time.Second
	// observeRetry is the pause after a round that failed. News do not shorten it: the steps of a failing round are news
	// themselves.
	observeRetry = 200 * time.Millisecond
)

func newReconciler(device wgmesh.Device, post func(wgmesh.Event), busy func() bool, problem func(error), log *zap.Logger) *reconciler {
	return &reconciler{device: device, post: post, busy: busy, problem: problem, log: log, wake: make(chan struct{}, 1)}
}

// want replaces the spec.
func (r *reconciler) want(c wgmesh.Converge) {
	r.mu.Lock()
	r.spec, r.generation = c.Spec, c.Generation
	r.mu.Unlock()
	r.look()
}

// look asks for a round soon.
func (r *reconciler) look() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run makes rounds until ctx ends. dirty tells of changes that somebody else made.
func (r *reconciler) run(ctx context.Context, dirty <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	news := dirty
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-news:
		case <-timer.C:
		}
		ok := r.round()
		news = dirty
		pause := observeCalm
		switch {
		case !ok:
			news, pause = nil, observeRetry
		case r.busy():
			pause = observeBusy
		}
		timer.Reset(pause)
	}
}

// round converges once and says whether that went well. A failing step leaves the rest for the next round: what was
// applied shows in the observation.
func (r *reconciler) round() (ok bool) {
	r.mu.Lock()
	spec, generation := r.spec, r.generation
	r.mu.Unlock()
	status, err := r.device.Observe()
	if err == nil && generation > 0 {
		if ops := wgmesh.Diff(spec, status); len(ops) > 0 {
			r.log.Debug("apply", zap.Int("steps", len(ops)))
			err = r.device.Apply(ops)
			after, again := r.device.Observe()
			if again == nil {
				status = after
			}
			err = errors.Join(err, again)
		}
	}
	r.problem(err)
	observed := wgmesh.Observed{Status: status}
	if err != nil {
		observed.Err = err.Error()
		if len(status.Slots) == 0 {
			return false // nothing was seen: the core keeps its picture
		}
	} else {
		observed.Applied = generation
	}
	r.post(observed)
	return err == nil
}
