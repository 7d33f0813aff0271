package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRealEngine goes through the life of containers with Debian's dockerd.
func TestRealEngine(t *testing.T) {
	e := newEngine(t)
	ctx, cancel := context.WithCancel(t.Context())
	changed := Watch(ctx, zap.NewNop())
	defer func() {
		cancel()
		for range changed { // closed once the goroutine has ended
		}
	}()
	signalled := func(why string) {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			t.Fatalf("no signal: %s", why)
		}
	}
	signalled("the stream begins")

	id := e.run("web", "none")
	signalled("a container started")
	for _, word := range []string{"web", id, id[:12]} {
		c, err := Inspect(ctx, word)
		if err != nil || c.ID != id || c.Name != "web" || c.PID == 0 || c.HostNetwork || c.Namespace() != fmt.Sprintf("/proc/%d/ns/net", c.PID) {
			t.Errorf("inspect %s: %+v, %v", word, c, err)
		}
	}
	c, err := Inspect(ctx, "web")
	if err != nil {
		t.Fatal(err)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if inside, err := os.Readlink(c.Namespace()); err != nil || inside == own {
		t.Errorf("namespace of the container: %s, %v; of this test: %s", inside, err, own)
	}

	api := e.client()
	defer api.Close()
	if _, err := api.ContainerRename(ctx, id, client.ContainerRenameOptions{NewName: "shop"}); err != nil {
		t.Fatal(err)
	}
	signalled("renamed")
	if c, err := Inspect(ctx, id); err != nil || c.Name != "shop" {
		t.Errorf("after a rename: %+v, %v", c, err)
	}
	if _, err := api.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatal(err)
	}
	signalled("ended")
	e.until("the container has ended", func() bool { c, err := Inspect(ctx, id); return err == nil && c.PID == 0 })
	if c, err := Inspect(ctx, id); err != nil || c.Namespace() != "" {
		t.Errorf("a container that does not run: %+v, %v", c, err)
	}
	e.remove(id)
	_, err = Inspect(ctx, id)
	if want := fmt.Sprintf("no such container: %q (docker ps lists them)", id); !errors.Is(err, ErrNoContainer) || err.Error() != want {
		t.Errorf("a removed container: %v, want %s", err, want)
	}
	host := e.run("host", "host")
	if c, err := Inspect(ctx, "host"); err != nil || !c.HostNetwork {
		t.Errorf("--net host: %+v, %v", c, err)
	}
	e.remove(host)

	// The engine goes away and comes back.
	e.stop()
	for len(changed) > 0 {
		<-changed
	}
	e.start()
	signalled("the engine came back")
}

func TestNoEngine(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "none")
	t.Setenv("DOCKER_HOST", "unix://"+socket)
	_, err := Inspect(t.Context(), "web")
	if want := fmt.Sprintf(`no docker at unix://%s; where there is no docker, give a pid or the path of a network namespace instead of "web"`, socket); err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	t.Setenv("DOCKER_HOST", "nonsense")
	if _, err := Inspect(t.Context(), "web"); err == nil {
		t.Error("a DOCKER_HOST that is none is taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	changed := Watch(ctx, zap.NewNop())
	cancel()
	if _, open := <-changed; open {
		t.Error("a signal without an engine")
	}
}

func TestBadNames(t *testing.T) {
	t.Setenv("DOCKER_HOST", "unix://"+filepath.Join(t.TempDir(), "none"))
	for _, name := range []string{"", "  "} {
		if _, err := Inspect(t.Context(), name); !errors.Is(err, ErrNoContainer) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
