package metrics

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"golang.org/x/net/netutil"

	"github.com/weavewg/weavewg/services/api"
)

// Limits of the server: scrapes are few and small.
const (
	maxHeader      = 8 << 10
	maxConnections = 16
	timeout        = 10 * time.Second
)

// Handler answers GET /metrics from a source, and with what the Go runtime and the process tell.
func Handler(source Source) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		&collector{source: source, now: time.Now}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: timeout}))
	return mux
}

// Listen opens the address of api.metrics.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err
		}
		return nil, fmt.Errorf("api.metrics: %s: %w: set another address, or \"\" for none", address, err)
	}
	return l, nil
}

// Serve answers on l until ctx ends, and closes l.
func Serve(ctx context.Context, l net.Listener, source Source, log *zap.Logger) error {
	server := &http.Server{
		Handler: Handler(source), MaxHeaderBytes: maxHeader,
		ReadHeaderTimeout: timeout, ReadTimeout: timeout, WriteTimeout: 2 * timeout, IdleTimeout: time.Minute,
		ErrorLog: zap.NewStdLog(log),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // a scrape can be lost
	defer stop()
	if err := server.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("api.metrics: %w", err)
	}
	return nil
}

// lowest returns the MaxPeers peers with the lowest ids.
func lowest(peers []api.Peer) []api.Peer {
	if len(peers) <= MaxPeers {
		return peers
	}
	peers = slices.SortedFunc(slices.Values(peers), func(a, b api.Peer) int { return cmp.Compare(a.ID, b.ID) })
	return peers[:MaxPeers]
}
