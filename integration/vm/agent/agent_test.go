package agent

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// pair is an agent and its client over a stream in memory; stop ends both and returns what Serve returned.
func pair(t *testing.T) (client *Client, stop func() error) {
	t.Helper()
	here, there := net.Pipe()
	served := make(chan error, 1)
	go func() { served <- Serve(there) }()
	client = NewClient(here)
	stop = sync.OnceValue(func() error {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		return <-served
	})
	t.Cleanup(func() { _ = stop() })
	return client, stop
}

func call(t *testing.T, c *Client, r Request) Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := c.Call(ctx, r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return got
}

func TestProgramsRunSideBySide(t *testing.T) {
	c, _ := pair(t)
	slow := call(t, c, Request{Start: &Start{Argv: []string{"sleep", "1000"}}})
	ended := make(chan Response, 1)
	go func() {
		got, _ := c.Call(t.Context(), Request{Wait: &Ref{PID: slow.PID}})
		ended <- got
	}()
	for range 20 { // while the first is waited for
		p := call(t, c, Request{Start: &Start{Argv: []string{"sh", "-c", "echo out; echo err >&2; exit 7"}}})
		got := call(t, c, Request{Wait: &Ref{PID: p.PID}})
		if string(got.Stdout) != "out\n" || string(got.Stderr) != "err\n" || got.Exit != 7 {
			t.Fatalf("got %+v", got)
		}
		call(t, c, Request{Forget: &Ref{PID: p.PID}})
	}
	if got := call(t, c, Request{Output: &Ref{PID: slow.PID}}); got.Exit != -1 {
		t.Errorf("a running program has exit %d", got.Exit)
	}
	call(t, c, Request{Signal: &Signal{PID: slow.PID, Number: 9}})
	if got := <-ended; got.Exit != 128+9 {
		t.Errorf("killed: %+v", got)
	}
	call(t, c, Request{Signal: &Signal{PID: slow.PID, Number: 9}}) // it has ended, which is no error
}

func TestBadRequestsAreAnswered(t *testing.T) {
	c, _ := pair(t)
	for name, r := range map[string]Request{
		"nothing":        {},
		"no program":     {Start: &Start{}},
		"no such file":   {Start: &Start{Argv: []string{"/no/such/program"}}},
		"unknown wait":   {Wait: &Ref{PID: 1}},
		"unknown signal": {Signal: &Signal{PID: 1, Number: 9}},
		"unknown output": {Output: &Ref{PID: 1}},
		"no such source": {Copy: &Copy{From: "/no/such/file", To: filepath.Join(t.TempDir(), "to")}},
	} {
		if _, err := c.Call(t.Context(), r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestTheEndOfTheStreamEndsEverything(t *testing.T) {
	c, stop := pair(t)
	p := call(t, c, Request{Start: &Start{Argv: []string{"sleep", "1000"}}})
	if err := stop(); err != nil && !strings.Contains(err.Error(), "closed") {
		t.Errorf("serve: %v", err)
	}
	if _, err := c.Call(t.Context(), Request{Output: &Ref{PID: p.PID}}); err == nil {
		t.Error("a closed client answers")
	}
	deadline := time.Now().Add(10 * time.Second)
	for stat := []byte("running"); len(stat) > 0 && !strings.Contains(string(stat), ") Z "); {
		if time.Now().After(deadline) {
			t.Fatalf("program %d lives on: %s", p.PID, stat)
		}
		stat, _ = os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID)) // nothing once it is reaped
	}
}

func TestAClosedClientEndsWhoWaits(t *testing.T) {
	c, stop := pair(t)
	p := call(t, c, Request{Start: &Start{Argv: []string{"sleep", "1000"}}})
	failed := make(chan error, 1)
	go func() {
		_, err := c.Call(context.Background(), Request{Wait: &Ref{PID: p.PID}})
		failed <- err
	}()
	_ = stop()
	if err := <-failed; err == nil {
		t.Error("a wait without a stream succeeded")
	}
}
