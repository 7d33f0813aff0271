package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/wgmesh"
)

// stubborn is a device on which every step fails, and makes the kernel tell of changes, as a step does that is half done
// and undone.
type stubborn struct {
	wgmesh.Device
	dirty chan struct{}
	tries int
}

func (s *stubborn) Observe() (wgmesh.DeviceStatus, error) { return wgmesh.DeviceStatus{}, nil }

func (s *stubborn) Apply([]wgmesh.Op) error {
	s.tries++
	select {
	case s.dirty <- struct{}{}:
	default:
	}
	return errors.New("no")
}

// TestAFailingRoundDoesNotSpin: what a failing round changes does not ask for the next round at once.
func TestAFailingRoundDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		device := &stubborn{dirty: make(chan struct{}, 1)}
		var failed error
		r := newReconciler(device, func(wgmesh.Event) {}, func() bool { return true }, func(err error) { failed = err }, zap.NewNop())
		r.want(wgmesh.Converge{Spec: wgmesh.DeviceSpec{Slots: []wgmesh.SlotSpec{{Port: 6783}}}, Generation: 1})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := r.run(ctx, device.dirty); err != nil {
			t.Fatal(err)
		}
		if most := int(10*time.Second/observeRetry) + 2; device.tries < 10 || device.tries > most || failed == nil {
			t.Errorf("%d rounds in 10 s, at most %d; %v", device.tries, most, failed)
		}
	})
}
