package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"
)

// ErrNotRunning says that no daemon answers at the socket.
var ErrNotRunning = errors.New("not running?")

// Client asks a daemon over its socket.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient returns a client of the daemon at a socket.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}}
}

// Close ends idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// MACs asks for learnt addresses of a network; "" for all.
func (c *Client) MACs(ctx context.Context, network string) (MACs, error) {
	return call[MACs](ctx, c, http.MethodGet, "/v1/macs?network="+url.QueryEscape(network), nil)
}

// Ports asks for what is plugged in.
func (c *Client) Ports(ctx context.Context) (Ports, error) {
	return call[Ports](ctx, c, http.MethodGet, "/v1/ports", nil)
}

// Keys asks for public keys.
func (c *Client) Keys(ctx context.Context) (Keys, error) {
	return call[Keys](ctx, c, http.MethodGet, "/v1/keys", nil)
}

// Counters asks for the totals.
func (c *Client) Counters(ctx context.Context) (Counters, error) {
	return call[Counters](ctx, c, http.MethodGet, "/v1/counters", nil)
}

// Report asks for everything that helps to find a fault.
func (c *Client) Report(ctx context.Context) (Report, error) {
	return call[Report](ctx, c, http.MethodGet, "/v1/report", nil)
}

// Attach plugs something in.
func (c *Client) Attach(ctx context.Context, r AttachRequest) (Port, error) {
	return call[Port](ctx, c, http.MethodPost, "/v1/attach", r)
}

// Detach unplugs something.
func (c *Client) Detach(ctx context.Context, r DetachRequest) error {
	_, err := call[done](ctx, c, http.MethodPost, "/v1/detach", r)
	return err
}

// Expose gives the host an address in a network.
func (c *Client) Expose(ctx context.Context, r ExposeRequest) (Port, error) {
	return call[Port](ctx, c, http.MethodPost, "/v1/expose", r)
}

// Hide undoes Expose.
func (c *Client) Hide(ctx context.Context, r ExposeRequest) error {
	_, err := call[done](ctx, c, http.MethodPost, "/v1/hide", r)
	return err
}

// Connect adds targets.
func (c *Client) Connect(ctx context.Context, targets []string) error {
	_, err := call[done](ctx, c, http.MethodPost, "/v1/connect", Connection{Targets: targets})
	return err
}

// Forget drops targets and absent nodes.
func (c *Client) Forget(ctx context.Context, r ForgetRequest) error {
	_, err := call[done](ctx, c, http.MethodPost, "/v1/forget", r)
	return err
}

// Reload applies the configuration again.
func (c *Client) Reload(ctx context.Context) (ReloadResult, error) {
	return call[ReloadResult](ctx, c, http.MethodPost, "/v1/reload", struct{}{})
}

// Down removes the data plane and ends the daemon.
func (c *Client) Down(ctx context.Context, purge bool) error {
	_, err := call[done](ctx, c, http.MethodPost, "/v1/down", DownRequest{Purge: purge})
	return err
}

// Ping hands over the replies of a peer as they come.
func (c *Client) Ping(ctx context.Context, r PingRequest, each func(PingReply) error) error {
	return lines(ctx, c, http.MethodPost, "/v1/ping", r, each)
}

// Capture hands over frames as they pass.
func (c *Client) Capture(ctx context.Context, network string, each func(CapturedFrame) error) error {
	return lines(ctx, c, http.MethodGet, "/v1/capture?network="+url.QueryEscape(network), nil, each)
}

// Await asks for the status until it is as wanted, or ctx ends: then the error says what was still missing. A daemon that
// is not there yet is waited for too.
func (c *Client) Await(ctx context.Context, wanted func(Status) (ok bool, missing string)) error {
	const most = 20 * time.Millisecond
	pause, missing := 5*time.Millisecond, ""
	for {
		s, err := c.Status(ctx)
		switch {
		case err == nil:
			var ok bool
			if ok, missing = wanted(s); ok {
				return nil
			}
		case ctx.Err() != nil: // the reason is what was missing before
		case errors.Is(err, ErrNotRunning):
			missing = err.Error()
		default:
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			if missing == "" {
				missing = "no answer from " + c.socket
			}
			return fmt.Errorf("gave up waiting: %s: %w", missing, ctx.Err())
		case <-timer.C:
			pause = min(2*pause, most)
		}
	}
}

// call does one request and reads one document.
func call[T any](ctx context.Context, c *Client, method, path string, request any) (T, error) {
	var answer T
	r, err := c.do(ctx, method, path, request)
	if err != nil {
		return answer, err
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("answer of weavewg at %s: %w", c.socket, err)
	}
	return answer, nil
}

// do does one request; an answer that is an error comes back as *Error.
func (c *Client) do(ctx context.Context, method, path string, request any) (*http.Response, error) {
	var body io.Reader
	if request != nil {
		b, err := json.Marshal(request)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+hostName+path, body)
	if err != nil {
		return nil, err
	}
	if request != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	e := &Error{}
	if err := json.NewDecoder(io.LimitReader(response.Body, maxBody)).Decode(e); err != nil || e.Message == "" {
		return nil, fmt.Errorf("weavewg at %s answers %s", c.socket, response.Status)
	}
	return nil, e
}

// unreachable says why no answer came.
func (c *Client) unreachable(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR),
		errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("cannot reach weavewg at %s: %w", c.socket, ErrNotRunning)
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf("cannot reach weavewg at %s: %w: join group weavewg", c.socket, os.ErrPermission)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return fmt.Errorf("cannot reach weavewg at %s: %w", c.socket, err)
}

// lines does one request whose answer is JSON lines; a line that holds an error ends it.
func lines[T any](ctx context.Context, c *Client, method, path string, request any, each func(T) error) error {
	r, err := c.do(ctx, method, path, request)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	decoder := json.NewDecoder(r.Body)
	for {
		var line json.RawMessage
		if err := decoder.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("weavewg at %s ended the stream: %w", c.socket, err)
		}
		var e Error
		if err := json.Unmarshal(line, &e); err == nil && e.Message != "" {
			return &e
		}
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("answer of weavewg at %s: %w", c.socket, err)
		}
		if err := each(v); err != nil {
			return err
		}
	}
}
