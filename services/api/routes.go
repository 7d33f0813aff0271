package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// routes is the whole API. Reads are GET, everything else is POST with a JSON body.
func (s *Server) routes(version string) http.Handler {
	mux := http.NewServeMux()
	b := s.backend
	get := func(pattern string, answer func(r *http.Request) (any, error)) {
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
			v, err := answer(r)
			if err != nil {
				fail(w, err)
				return
			}
			writeJSON(w, http.StatusOK, v)
		})
		otherwise(mux, pattern, http.MethodGet)
	}
	get("/v1/status", func(*http.Request) (any, error) { return b.Status(), nil })
	get("/v1/peers", func(*http.Request) (any, error) { return Peers{Schema: PeersSchema, Peers: b.Status().Peers}, nil })
	get("/v1/macs", func(r *http.Request) (any, error) { return answer(b.MACs(r.URL.Query().Get("network"))) })
	get("/v1/ports", func(*http.Request) (any, error) { return b.Ports(), nil })
	get("/v1/keys", func(*http.Request) (any, error) { return b.Keys(), nil })
	get("/v1/counters", func(*http.Request) (any, error) { return counters(b), nil })
	get("/v1/report", func(*http.Request) (any, error) { return report(b, version) })

	post(mux, "/v1/attach", func(ctx context.Context, r AttachRequest) (any, error) {
		if r.Target == "" {
			return nil, Errorf(CodeUsage, "target: give a container, a pid or the path of a network namespace")
		}
		return answer(b.Attach(ctx, r))
	})
	post(mux, "/v1/detach", func(ctx context.Context, r DetachRequest) (any, error) {
		if r.Target == "" {
			return nil, Errorf(CodeUsage, "target: give a container, a pid or the path of a network namespace")
		}
		return done{}, b.Detach(ctx, r)
	})
	post(mux, "/v1/expose", func(ctx context.Context, r ExposeRequest) (any, error) { return answer(b.Expose(ctx, r)) })
	post(mux, "/v1/hide", func(ctx context.Context, r ExposeRequest) (any, error) { return done{}, b.Hide(ctx, r) })
	post(mux, "/v1/connect", func(_ context.Context, r Connection) (any, error) { return done{}, connect(b, r) })
	post(mux, "/v1/forget", func(_ context.Context, r ForgetRequest) (any, error) { return done{}, forget(b, r) })
	post(mux, "/v1/reload", func(ctx context.Context, _ struct{}) (any, error) { return answer(b.Reload(ctx)) })
	post(mux, "/v1/down", func(ctx context.Context, r DownRequest) (any, error) {
		// A caller that goes away must not leave half of the data plane.
		return done{}, b.Down(context.WithoutCancel(ctx), r.Purge)
	})

	mux.HandleFunc("POST /v1/ping", s.ping)
	otherwise(mux, "/v1/ping", http.MethodPost)
	mux.HandleFunc("GET /v1/capture", s.capture)
	otherwise(mux, "/v1/capture", http.MethodGet)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, Errorf(CodeNotFound, "no such path: %s", r.URL.Path))
	})
	return mux
}

// done is the answer of requests that have nothing to say.
type done struct{}

// answer widens the type of an answer.
func answer[T any](v T, err error) (any, error) { return v, err }

// otherwise answers other methods of a pattern.
func otherwise(mux *http.ServeMux, pattern, method string) {
	mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", method)
		refuse(w, http.StatusMethodNotAllowed, fmt.Sprintf("%s takes %s, not %s", pattern, method, r.Method))
	})
}

// post adds a route whose request is a JSON document of type T.
func post[T any](mux *http.ServeMux, pattern string, answer func(context.Context, T) (any, error)) {
	mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
		var request T
		if !readJSON(w, r, &request) {
			return
		}
		v, err := answer(r.Context(), request)
		if err != nil {
			fail(w, err)
			return
		}
		writeJSON(w, http.StatusOK, v)
	})
	otherwise(mux, pattern, http.MethodPost)
}

func (s *Server) ping(w http.ResponseWriter, r *http.Request) {
	var request PingRequest
	if !readJSON(w, r, &request) {
		return
	}
	peer, err := FindPeer(s.backend.Status(), request.Peer)
	if err == nil && request.Count < 0 {
		err = Errorf(CodeUsage, "count: %d is negative", request.Count)
	}
	if err != nil {
		fail(w, err)
		return
	}
	lines := newStream(w)
	lines.end(ended(r.Context(), s.backend.Ping(r.Context(), peer.ID, request.Count, func(reply PingReply) error { return lines.send(reply) })))
}

func (s *Server) capture(w http.ResponseWriter, r *http.Request) {
	lines := newStream(w)
	lines.end(ended(r.Context(), s.backend.Capture(r.Context(), r.URL.Query().Get("network"), func(f CapturedFrame) error { return lines.send(f) })))
}

// ended drops the error of a stream that ended because its caller, or the daemon, wanted it to.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// connect checks targets before the daemon keeps them.
func connect(b Backend, r Connection) error {
	var targets []string
	for _, t := range r.Targets {
		target, err := topology.ParseTarget(t, DefaultPort)
		if err != nil {
			return Errorf(CodeUsage, "%v", err)
		}
		targets = append(targets, target)
	}
	if len(targets) == 0 {
		return Errorf(CodeUsage, "targets: give at least one")
	}
	return b.Connect(targets)
}

// DefaultPort is the port of a target that has none.
const DefaultPort = 6783

// forget drops all that it was asked to, or nothing.
func forget(b Backend, r ForgetRequest) error {
	status := b.Status()
	var targets, nodes []string
	for _, t := range r.Targets {
		target, err := topology.ParseTarget(t, DefaultPort)
		if err != nil {
			return Errorf(CodeUsage, "%v", err)
		}
		if err := forgettable(status, target); err != nil {
			return err
		}
		targets = append(targets, target)
	}
	for _, n := range r.Nodes {
		peer, err := FindPeer(status, n)
		if err != nil {
			return err
		}
		if peer.Control == "up" {
			return Errorf(CodeFailed, "%s is connected: only an absent node can be forgotten", peer.Name)
		}
		nodes = append(nodes, peer.ID)
	}
	if len(targets)+len(nodes) == 0 {
		return Errorf(CodeUsage, "give a target or a node")
	}
	if len(targets) > 0 {
		if err := b.ForgetTargets(targets); err != nil {
			return err
		}
	}
	for _, id := range nodes {
		if err := b.ForgetNode(id); err != nil {
			return err
		}
	}
	return nil
}

// forgettable says why a target cannot be forgotten, if so.
func forgettable(s Status, target string) error {
	for _, t := range s.Targets {
		if t.Address != target {
			continue
		}
		if t.Source == "config" {
			return Errorf(CodeFailed, "%s: %s is in the configuration: remove it there and run weavewg config reload", t.Place, target)
		}
		return nil
	}
	return Errorf(CodeNotFound, "%s is not a target: weavewg status lists them", target)
}

func counters(b Backend) Counters {
	c := b.Counters()
	c.Schema = CountersSchema
	return c
}

// report gathers what helps to find a fault.
func report(b Backend, version string) (any, error) {
	macs, err := b.MACs("")
	if err != nil {
		return nil, err
	}
	return Report{
		Schema: ReportSchema, Time: time.Now().UTC(), Status: b.Status(), Counters: counters(b), MACs: macs.MACs, Ports: b.Ports().Ports,
		Keys: b.Keys(), Config: b.Config(), Versions: versions(version),
	}, nil
}
