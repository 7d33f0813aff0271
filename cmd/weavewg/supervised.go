package main

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"go.uber.org/zap"

	"github.com/weavewg/weavewg/services/api"
)

// supervised is what a service manager sees of the daemon: it tells systemd what happens (sd_notify(3)), turns SIGHUP into
// a reload, and feeds the watchdog as long as the API answers. Without systemd it only does the SIGHUP.
type supervised struct {
	client *api.Client
	log    *zap.Logger
	tasks  sync.WaitGroup
}

func newSupervised(socket string, log *zap.Logger) *supervised {
	return &supervised{client: api.NewClient(socket), log: log}
}

// ready says that the node stands; the tasks end with ctx.
func (s *supervised) ready(ctx context.Context) {
	s.notify(daemon.SdNotifyReady)
	s.tasks.Go(func() { s.hangup(ctx) })
	if interval, err := daemon.SdWatchdogEnabled(false); err == nil && interval > 0 {
		s.tasks.Go(func() { s.watchdog(ctx, interval) })
	}
}

// stopped says that the node ends, and waits for the tasks.
func (s *supervised) stopped() {
	s.notify(daemon.SdNotifyStopping)
	s.tasks.Wait()
	s.client.Close()
}

func (s *supervised) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("systemd was not told", zap.String("evt", "sd-notify"), zap.String("state", state), zap.Error(err))
	}
}

func (s *supervised) hangup(ctx context.Context) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	defer signal.Stop(signals)
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals:
		}
		s.notify(daemon.SdNotifyReloading)
		if r, err := s.client.Reload(ctx); err == nil {
			s.log.Info("configuration reloaded", zap.String("evt", "reload"), zap.Strings("changed", r.Changed))
		} else if ctx.Err() == nil {
			s.log.Error("reload refused, the old configuration stays", zap.String("evt", "reload"), zap.Error(err))
		}
		s.notify(daemon.SdNotifyReady)
	}
}

func (s *supervised) watchdog(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval / 3)
	defer ticker.Stop()
	for {
		asked, cancel := context.WithTimeout(ctx, interval/3)
		_, err := s.client.Status(asked)
		cancel()
		if err == nil {
			s.notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
