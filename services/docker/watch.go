package docker

import (
	"context"
	"errors"
	"time"

	"github.com/moby/moby/client"
	"go.uber.org/zap"
)

// Back-off between tries to reach an engine that is not there, or went away.
const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Watch returns a channel that is sent to whenever containers may have changed: one started, ended, was renamed or removed,
// or the engine came back. Signals that nobody took yet count as one. It ends, and closes the channel, with ctx; a host
// without an engine is asked now and then.
func Watch(ctx context.Context, log *zap.Logger) <-chan struct{} {
	changed := make(chan struct{}, 1)
	go func() {
		defer close(changed)
		w := watcher{changed: changed, log: log}
		for retry := firstRetry; ctx.Err() == nil; retry = min(2*retry, lastRetry) {
			if w.follow(ctx) {
				retry = firstRetry
			}
			timer := time.NewTimer(retry)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	}()
	return changed
}

// watcher is the state of Watch.
type watcher struct {
	changed chan<- struct{}
	log     *zap.Logger
	said    string // last reason that was logged: a host without docker is told once
}

// follow reads events until the stream ends, and says whether there was one.
func (w *watcher) follow(ctx context.Context) bool {
	e, err := open()
	if err != nil {
		w.say(err)
		return false
	}
	defer e.Close()
	asked, cancel := context.WithTimeout(ctx, answerTimeout)
	_, err = e.Ping(asked, client.PingOptions{NegotiateAPIVersion: true})
	cancel()
	if err != nil {
		if ctx.Err() == nil {
			w.say(unreachable(e, err))
		}
		return false
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	filters := client.Filters{}.Add("type", "container").Add("event", "start", "die", "rename", "destroy")
	stream := e.Events(ctx, client.EventsListOptions{Filters: filters})
	w.said = ""
	w.log.Debug("following the events of docker", zap.String("evt", "docker-up"), zap.String("host", e.DaemonHost()))
	w.signal() // what happened before the stream began
	for {
		select {
		case <-stream.Messages:
			w.signal()
		case err := <-stream.Err:
			if ctx.Err() == nil && err != nil && !errors.Is(err, context.Canceled) {
				w.say(unreachable(e, err))
			}
			return true
		}
	}
}

func (w *watcher) signal() {
	select {
	case w.changed <- struct{}{}:
	default: // there is a signal already
	}
}

func (w *watcher) say(err error) {
	if err.Error() != w.said {
		w.said = err.Error()
		w.log.Info("containers are not followed", zap.String("evt", "docker-down"), zap.Error(err))
	}
}
