package keeper

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// userDevice is one userspace WireGuard interface: a TUN descriptor that stays open, and a child that may come and go.
type userDevice struct {
	name       string
	mtu, procs int
	tun        *os.File
	host       *hostThread
	output     io.Writer
	log        *zap.Logger
	notify     func(Event)

	stop    context.CancelFunc
	started chan struct{} // there was a child
	ended   chan struct{} // there will be none any more, and the TUN is closed

	mu  sync.Mutex
	pid int
	err error // why the first start failed, or why there will be no other
}

// supervise starts the first child and keeps one running until ctx ends, the interface is gone, or not even the first
// child starts.
func (d *userDevice) supervise(ctx context.Context) {
	gone := d.run(ctx)
	d.tun.Close()
	close(d.ended)
	if gone != nil { // only now: who hears of it may ask for the device anew
		d.notify(*gone)
	}
}

// run returns the news to tell when the interface is gone.
func (d *userDevice) run(ctx context.Context) *Event {
	var wait time.Duration
	first, reason := true, ""
	for {
		begun := time.Now()
		c, err := startChild(ctx, d)
		switch {
		case err != nil && first:
			d.set(0, err)
			return nil
		case err != nil:
			d.log.Error("child did not start", zap.String("interface", d.name), zap.Error(err))
			d.set(0, err)
			d.notify(Event{Name: d.name, Reason: err.Error()})
		case first:
			d.set(c.pid(), nil)
			close(d.started)
			first = false
		default:
			d.set(c.pid(), nil)
			d.log.Warn("child replaced", zap.String("interface", d.name), zap.Int("pid", c.pid()), zap.String("reason", reason))
			d.notify(Event{Name: d.name, PID: c.pid(), Reason: reason})
		}
		if c != nil {
			reason = c.wait(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if !attached(d.tun) {
			d.set(0, fmt.Errorf("interface %s was deleted", d.name))
			return &Event{Name: d.name, Reason: "the interface was deleted"}
		}
		// The very first death is answered at once: every moment of it is lost packets.
		if wait = pause(time.Since(begun), wait); wait > minPause || c == nil {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil
			}
		}
	}
}

func (d *userDevice) set(pid int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pid, d.err = pid, err
}

// state returns the child's pid, or why there is none.
func (d *userDevice) state() (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pid, d.err
}

// end stops the child and closes the TUN, which removes the interface.
func (d *userDevice) end() {
	d.stop()
	<-d.ended
}
