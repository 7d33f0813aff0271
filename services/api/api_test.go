package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

func TestReads(t *testing.T) {
	b := newSmall()
	c, _ := served(t, b)
	ctx := t.Context()
	if s, err := c.Status(ctx); err != nil || s.Schema != StatusSchema || s.Node.Overlay != b.status.Node.Overlay || len(s.Peers) != 3 {
		t.Errorf("status: %+v, %v", s, err)
	}
	if m, err := c.MACs(ctx, "default"); err != nil || len(m.MACs) != 1 {
		t.Errorf("macs: %+v, %v", m, err)
	}
	if _, err := c.MACs(ctx, "a&b=c"); err == nil || err.Error() != `no network "a&b=c" here` {
		t.Errorf("macs of a network that is not there: %v", err)
	}
	if k, err := c.Keys(ctx); err != nil || k.NodeID != b.status.Node.ID {
		t.Errorf("keys: %+v, %v", k, err)
	}
	if n, err := c.Counters(ctx); err != nil || n.Schema != CountersSchema {
		t.Errorf("counters: %+v, %v", n, err)
	}
	r, err := c.Report(ctx)
	if err != nil || r.Schema != ReportSchema || r.Versions.Weavewg != "test" || r.Versions.Kernel == "" || r.Config != "mesh: home\n" || len(r.MACs) != 1 {
		t.Errorf("report: %+v, %v", r, err)
	}
}

func TestPlug(t *testing.T) {
	b := newSmall()
	c, _ := served(t, b)
	ctx := t.Context()
	p, err := c.Attach(ctx, AttachRequest{Target: "web", Addresses: []string{"10.32.1.1/12"}})
	if err != nil || p.Interface != "ethwe" {
		t.Fatalf("attach: %+v, %v", p, err)
	}
	if ports, err := c.Ports(ctx); err != nil || len(ports.Ports) != 1 || ports.Ports[0].Target != "web" {
		t.Errorf("ports: %+v, %v", ports, err)
	}
	if err := c.Detach(ctx, DetachRequest{Target: "web"}); err != nil {
		t.Errorf("detach: %v", err)
	}
	err = c.Detach(ctx, DetachRequest{Target: "web"})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeNotFound || e.Message != "web is not plugged in here" {
		t.Errorf("detach again: %v", err)
	}
	_, err = c.Attach(ctx, AttachRequest{})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeUsage {
		t.Errorf("attach nothing: %v", err)
	}
	_, err = c.Expose(ctx, ExposeRequest{})
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != CodeFailed || e.Message != "RTNETLINK answers: file exists" {
		t.Errorf("expose: %v", err)
	}
	if err := c.Hide(ctx, ExposeRequest{}); err != nil {
		t.Errorf("hide: %v", err)
	}
	if r, err := c.Reload(ctx); err != nil || !cmp.Equal(r.Changed, []string{"log.level"}) {
		t.Errorf("reload: %v, %v", r, err)
	}
}

func TestConnectAndForget(t *testing.T) {
	b := newSmall()
	c, _ := served(t, b)
	ctx := t.Context()
	if err := c.Connect(ctx, []string{"Gamma.example", "[2001:db8::1]:99"}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"gamma.example:6783", "[2001:db8::1]:99"}, b.targets); d != "" {
		t.Errorf("targets: %s", d)
	}
	if err := c.Forget(ctx, ForgetRequest{Targets: []string{"192.0.2.9"}, Nodes: []string{"c1c1c1"}}); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]string{"192.0.2.9:6783", idGamma1}, b.forgot); d != "" {
		t.Errorf("forgot: %s", d)
	}
	b.forgot = nil
	for _, r := range []struct {
		request ForgetRequest
		want    string
	}{
		{ForgetRequest{Targets: []string{"192.0.2.9", "beta.example"}}, "/etc/weavewg/weavewg.yaml:9: beta.example:6783 is in the configuration: remove it there and run weavewg config reload"},
		{ForgetRequest{Targets: []string{"192.0.2.8"}}, "192.0.2.8:6783 is not a target: weavewg status lists them"},
		{ForgetRequest{Nodes: []string{"beta"}}, "beta is connected: only an absent node can be forgotten"},
		{ForgetRequest{Nodes: []string{"gamma"}}, `"gamma" is ambiguous, use more of the id:`},
		{ForgetRequest{Nodes: []string{"delta"}}, `no peer "delta": weavewg peers lists them`},
		{ForgetRequest{Nodes: []string{"alpha"}}, `alpha is this node itself`},
		{ForgetRequest{}, "give a target or a node"},
	} {
		if err := c.Forget(ctx, r.request); err == nil || err.Error() != r.want {
			t.Errorf("forget %v: %v, want %s", r.request, err, r.want)
		}
	}
	if b.forgot != nil {
		t.Errorf("a refused request forgot %v", b.forgot)
	}
	if err := c.Connect(ctx, nil); err == nil || err.Error() != "targets: give at least one" {
		t.Errorf("connect nothing: %v", err)
	}
}

func TestFindPeer(t *testing.T) {
	s := newSmall().status
	for word, want := range map[string]string{"beta": idBeta, "b1b1": idBeta, "B1B1": idBeta, idGamma2: idGamma2, "c1c1c2": idGamma2} {
		if p, err := FindPeer(s, word); err != nil || p.ID != want {
			t.Errorf("%s: %s, %v", word, p.ID, err)
		}
	}
	for _, word := range []string{"gamma", "c1c1"} {
		_, err := FindPeer(s, word)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != CodeAmbiguous || !cmp.Equal(e.Choices, []string{idGamma1 + " gamma", idGamma2 + " gamma"}) {
			t.Errorf("%s: %+v", word, err)
		}
	}
	if _, err := FindPeer(s, ""); err == nil {
		t.Error("an empty word names a peer")
	}
}

func TestStreams(t *testing.T) {
	b := newSmall()
	c, _ := served(t, b)
	var seqs []int
	err := c.Ping(t.Context(), PingRequest{Peer: "b1b1", Count: 3}, func(r PingReply) error {
		if r.Peer != idBeta {
			t.Errorf("the daemon was asked for %s", r.Peer)
		}
		seqs = append(seqs, r.Seq)
		return nil
	})
	if err != nil || !cmp.Equal(seqs, []int{0, 1, 2}) {
		t.Errorf("ping: %v, %v", seqs, err)
	}
	b.err = errors.New("the tunnel went away")
	if err := c.Ping(t.Context(), PingRequest{Peer: "beta", Count: 1}, func(PingReply) error { return nil }); err == nil || err.Error() != "the tunnel went away" {
		t.Errorf("an error after the first line: %v", err)
	}
	if err := c.Ping(t.Context(), PingRequest{Peer: "gamma"}, nil); exitLike(err) != CodeAmbiguous {
		t.Errorf("ambiguous: %v", err)
	}
	if err := c.Ping(t.Context(), PingRequest{Peer: "beta", Count: -1}, nil); exitLike(err) != CodeUsage {
		t.Errorf("negative: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var frames int
	err = c.Capture(ctx, "", func(f CapturedFrame) error {
		frames++
		if !cmp.Equal(f.Data, []byte{1, 2, 3}) {
			t.Errorf("frame %v", f)
		}
		cancel()
		return nil
	})
	if frames != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("capture: %d frames, %v", frames, err)
	}
	stop := errors.New("enough")
	if err := c.Ping(t.Context(), PingRequest{Peer: "beta"}, func(r PingReply) error {
		if r.Seq == 5 {
			return stop
		}
		return nil
	}); !errors.Is(err, stop) {
		t.Errorf("stopped by its caller: %v", err)
	}
}

func exitLike(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

func TestDownIsAnsweredThoughTheServerEnds(t *testing.T) {
	b := newSmall()
	c, stop := served(t, b)
	go func() {
		<-b.down
		stop()
	}()
	if err := c.Down(t.Context(), true); err != nil {
		t.Error(err)
	}
}

// TestAStreamDoesNotHoldTheServer ends the server while a capture runs.
func TestAStreamDoesNotHoldTheServer(t *testing.T) {
	c, stop := served(t, newSmall())
	err := c.Capture(t.Context(), "", func(CapturedFrame) error {
		go stop()
		return nil
	})
	if err != nil {
		t.Errorf("capture: %v", err)
	}
}

func TestACallerThatGoesAwayEndsItsRequest(t *testing.T) {
	b := newSmall()
	b.blocked = make(chan struct{})
	c, _ := served(t, b)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-b.blocked
		cancel()
	}()
	if _, err := c.Attach(ctx, AttachRequest{Target: "web"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestAwait(t *testing.T) {
	b := newSmall()
	b.status.Ready = false
	c, _ := served(t, b)
	asked := 0
	ready := func(s Status) (bool, string) {
		if asked++; asked == 3 {
			b.mu.Lock()
			b.status.Ready = true
			b.mu.Unlock()
		}
		return s.Ready, "the datapath is not built"
	}
	if err := c.Await(t.Context(), ready); err != nil || asked != 4 {
		t.Errorf("after %d times: %v", asked, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	never := func(Status) (bool, string) { return false, "beta is down" }
	if err := c.Await(ctx, never); !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), "gave up waiting: beta is down: ") {
		t.Errorf("never: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if err := NewClient("/nowhere/weavewg.sock").Await(ctx, never); err == nil || !strings.Contains(err.Error(), "cannot reach weavewg at /nowhere/weavewg.sock: not running?") {
		t.Errorf("nobody: %v", err)
	}
}

// TestRawRequests has what no client of ours sends.
func TestRawRequests(t *testing.T) {
	c, _ := served(t, newSmall())
	const attach = "POST /v1/attach HTTP/1.1\r\nHost: weavewg\r\nContent-Type: application/json\r\n"
	body := func(s string) string { return fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(s), s) }
	for name, r := range map[string]struct{ request, status, message string }{
		"wrong host":         {"GET /v1/status HTTP/1.1\r\nHost: evil.example\r\n\r\n", "403", "wrong Host"},
		"no host":            {"GET /v1/status HTTP/1.1\r\n\r\n", "400", ""},
		"origin":             {"GET /v1/status HTTP/1.1\r\nHost: weavewg\r\nOrigin: http://evil.example\r\n\r\n", "403", "web pages"},
		"fetch":              {"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: none\r\n\r\n", "403", "web pages"},
		"method":             {"DELETE /v1/status HTTP/1.1\r\nHost: weavewg\r\n\r\n", "405", "/v1/status takes GET, not DELETE"},
		"method of a stream": {"GET /v1/ping HTTP/1.1\r\nHost: weavewg\r\n\r\n", "405", "/v1/ping takes POST, not GET"},
		"preflight":          {"OPTIONS /v1/attach HTTP/1.1\r\nHost: weavewg\r\nOrigin: null\r\n\r\n", "403", "web pages"},
		"path":               {"GET /v1/../v1/status HTTP/1.1\r\nHost: weavewg\r\n\r\n", "400", "path is not canonical"},
		"no such path":       {"GET /v2/status HTTP/1.1\r\nHost: weavewg\r\n\r\n", "404", "no such path: /v2/status"},
		"huge header":        {"GET /v1/status HTTP/1.1\r\nHost: weavewg\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n\r\n", "431", ""},
		"huge body":          {attach + body(`{"target": "`+strings.Repeat("x", 80<<10)+`"}`), "413", "larger than 64 KiB"},
		"not JSON":           {attach + body("target=web"), "400", "body: "},
		"no content type":    {"POST /v1/attach HTTP/1.1\r\nHost: weavewg\r\n" + body(`{"target": "x"}`), "415", "application/json"},
		"unknown field":      {attach + body(`{"target": "x", "shell": "sh"}`), "400", `unknown field \"shell\"`},
		"two documents":      {attach + body(`{"target": "x"}{"target": "y"}`), "400", "more than one document"},
		"wrong type":         {attach + body(`{"target": 5}`), "400", "body: "},
		"empty body":         {attach + body(""), "400", "body: "},
		"not HTTP":           {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "400", ""},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("unix", c.socket)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.WriteString(conn, r.request) }() // the server may close early
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			rest, err := io.ReadAll(answer.Body)
			if err != nil && r.message != "" || !strings.HasPrefix(answer.Status, r.status+" ") {
				t.Fatalf("answer %s, %v; want %s", answer.Status, err, r.status)
			}
			if !strings.Contains(string(rest), r.message) {
				t.Errorf("answer %s; want %q", rest, r.message)
			}
		})
	}
	if _, err := c.Status(t.Context()); err != nil {
		t.Errorf("after all that: %v", err)
	}
}

// TestSlowRequests stops in the middle of a header and of a body.
func TestSlowRequests(t *testing.T) {
	s := NewServer(newSmall(), "test", zap.NewNop())
	s.headerTimeout, s.bodyTimeout = 50*time.Millisecond, 100*time.Millisecond
	c, _ := serving(t, s)
	for name, r := range map[string]struct{ request, answer string }{
		"header": {"GET /v1/status HTTP/1.1\r\nHost: wea", ""},
		"body":   {"POST /v1/attach HTTP/1.1\r\nHost: weavewg\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"target\"", "HTTP/1.1 408 Request Timeout\r\n"},
	} {
		conn, err := net.Dial("unix", c.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = io.WriteString(conn, r.request)
		if err = errors.Join(err, conn.SetDeadline(time.Now().Add(10*time.Second))); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil || !strings.HasPrefix(string(answer), r.answer) || r.answer == "" && len(answer) > 0 {
			t.Errorf("%s: %q, %v", name, answer, err)
		}
	}
	// What is slow to answer is not slow to ask: a stream outlives the timeout of the body.
	began := time.Now()
	err := c.Ping(t.Context(), PingRequest{Peer: "beta"}, func(PingReply) error {
		if time.Since(began) > 250*time.Millisecond {
			return io.EOF
		}
		return nil
	})
	if !errors.Is(err, io.EOF) {
		t.Errorf("ping: %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "weavewg.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, socket := range []string{stale, filepath.Join(dir, "none.sock")} {
		_, err := NewClient(socket).Status(t.Context())
		if want := "cannot reach weavewg at " + socket + ": not running?"; !errors.Is(err, ErrNotRunning) || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	s, err := Listen(stale, "")
	if err != nil {
		t.Fatalf("a socket left behind: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(stale); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestListen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "weavewg.sock")
	mode := func() os.FileMode {
		t.Helper()
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	s, err := Listen(path, "no-such-group")
	if err != nil {
		t.Fatal(err)
	}
	if mode() != 0o600 {
		t.Errorf("without a group: mode %o", mode())
	}
	want := fmt.Sprintf("weavewg is running already (pid %d) at %s", os.Getpid(), path)
	if _, err := Listen(path, ""); err == nil || err.Error() != want {
		t.Errorf("twice: %v, want %s", err, want)
	}
	s.Close()

	s, err = Listen(path, "daemon")
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || mode() != 0o660 || st.Gid != 1 {
		t.Errorf("with a group: mode %o, gid %d, %v", mode(), st.Gid, err)
	}
	// Somebody else's socket under the same name stays.
	if err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Listen(path, ""); err == nil || err.Error() != path+" is there and is no socket: remove it" {
		t.Errorf("a file: %v", err)
	}
	if err := errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, ""); err == nil || err.Error() != path+" is there and is no socket: remove it" {
		t.Errorf("a link: %v", err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, ""); err == nil || err.Error() != "run_dir "+dir+": file mode 0777: others could replace the socket; need 0755" {
		t.Errorf("a folder that everybody may write: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}
