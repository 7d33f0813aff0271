package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"path"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/netutil"
)

// Limits of the server.
const (
	maxHeader      = 16 << 10 // bytes
	maxBody        = 64 << 10 // bytes
	maxConnections = 64
	headerTimeout  = 5 * time.Second
	bodyTimeout    = 10 * time.Second
	writeTimeout   = 10 * time.Second // for one line of a stream to be taken
	closeTimeout   = 2 * time.Second
)

// Server answers requests from a Backend.
type Server struct {
	backend Backend
	handler http.Handler
	log     *zap.Logger

	headerTimeout, bodyTimeout time.Duration // shorter in a test
}

// NewServer returns a server for b. version is the program's.
func NewServer(b Backend, version string, log *zap.Logger) *Server {
	s := &Server{backend: b, log: log, headerTimeout: headerTimeout, bodyTimeout: bodyTimeout}
	s.handler = guard(s.routes(version))
	return s
}

// Serve answers on l until ctx ends, then finishes what is under way for a moment and closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	streams, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	server := &http.Server{
		Handler: s.handler, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: s.headerTimeout, ReadTimeout: s.bodyTimeout, IdleTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return streams },
		ErrorLog:    zap.NewStdLog(s.log.WithOptions(zap.AddCallerSkip(1))),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(netutil.LimitListener(l, maxConnections)) }()
	select {
	case err := <-ended:
		return errors.Join(err, l.Close())
	case <-ctx.Done():
	}
	soon, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	// Streams would never end by themselves; other requests (down among them) are let finish.
	grace := time.AfterFunc(closeTimeout/4, stop)
	defer grace.Stop()
	err := server.Shutdown(soon)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	return errors.Join(err, ignoreClosed(<-ended))
}

// ignoreClosed drops the error that a server ends with when it was asked to.
func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// guard refuses what a browser could be made to send (a foreign Host or an Origin) and paths that are not canonical.
func guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Host != hostName && r.Host != "localhost":
			refuse(w, http.StatusForbidden, "wrong Host: this API is for local programs")
		case r.Header.Get("Origin") != "" || r.Header.Get("Sec-Fetch-Site") != "":
			refuse(w, http.StatusForbidden, "requests of web pages are refused")
		case r.URL.Path != path.Clean(r.URL.Path):
			refuse(w, http.StatusBadRequest, "path is not canonical")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// hostName is the Host that requests carry.
const hostName = "weavewg"

// refuse answers with an Error of CodeUsage.
func refuse(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, Errorf(CodeUsage, "%s", message))
}
