package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// engine is a real dockerd in mount and network namespaces of its own, with everything it writes in a folder of the test.
type engine struct {
	t      *testing.T
	dir    string
	socket string
	cmd    *exec.Cmd
	exited chan error
}

// newEngine starts an engine, points DOCKER_HOST at it and gives it an image "busybox".
func newEngine(t *testing.T) *engine {
	t.Helper()
	dir, err := os.MkdirTemp("", "docker-test-") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{t: t, dir: dir, socket: filepath.Join(dir, "s")}
	t.Cleanup(func() {
		e.stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("DOCKER_HOST", "unix://"+e.socket)
	e.start()
	e.importBusybox()
	return e
}

func (e *engine) start() {
	e.t.Helper()
	output, err := os.OpenFile(filepath.Join(e.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		e.t.Fatal(err)
	}
	defer output.Close()
	e.cmd = exec.Command("dockerd", "--data-root", filepath.Join(e.dir, "data"), "--exec-root", filepath.Join(e.dir, "exec"),
		"--pidfile", filepath.Join(e.dir, "pid"), "--host", "unix://"+e.socket, "--storage-driver", "vfs",
		"--iptables=false", "--ip6tables=false", "--bridge=none")
	e.cmd.Stdout, e.cmd.Stderr = output, output
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Unshareflags: unix.CLONE_NEWNS}
	if err := e.cmd.Start(); err != nil {
		e.t.Fatalf("dockerd (Debian's docker.io, as root): %v", err)
	}
	e.exited = make(chan error, 1)
	go func() { e.exited <- e.cmd.Wait() }()
	e.until("dockerd answers", func() bool {
		c := e.client()
		defer c.Close()
		_, err := c.Ping(context.Background(), client.PingOptions{NegotiateAPIVersion: true})
		return err == nil
	})
}

func (e *engine) stop() {
	if e.cmd == nil {
		return
	}
	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		e.t.Error(err)
	}
	kill := time.AfterFunc(20*time.Second, func() { e.t.Error("dockerd does not end:", e.cmd.Process.Kill()) })
	defer kill.Stop()
	if err := <-e.exited; err != nil {
		e.t.Errorf("dockerd: %v", err)
	}
	e.cmd = nil
}

func (e *engine) client() *client.Client {
	e.t.Helper()
	c, err := client.New(client.FromEnv)
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

// until waits for a condition, and shows the end of the engine's log when it does not come.
func (e *engine) until(what string, ok func() bool) {
	e.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case err := <-e.exited:
			e.exited <- err
			log, _ := os.ReadFile(filepath.Join(e.dir, "log"))
			e.t.Fatalf("%s: dockerd ended: %v\n%s", what, err, log[max(0, len(log)-2000):])
		case <-tick.C:
		}
		if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(e.dir, "log"))
			e.t.Fatalf("%s: not in 30 s\n%s", what, log[max(0, len(log)-2000):])
		}
	}
}

// importBusybox makes an image of Debian's busybox-static.
func (e *engine) importBusybox() {
	e.t.Helper()
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		e.t.Fatalf("busybox-static: %v", err)
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	err = w.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = w.Write(program)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		e.t.Fatal(err)
	}
	c := e.client()
	defer c.Close()
	r, err := c.ImageImport(context.Background(), client.ImageImportSource{Source: &image, SourceName: "-"}, "busybox", client.ImageImportOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		e.t.Fatal(err)
	}
}

// run starts a container that sleeps, and returns its id.
func (e *engine) run(name string, network container.NetworkMode) string {
	e.t.Helper()
	c := e.client()
	defer c.Close()
	made, err := c.ContainerCreate(context.Background(), client.ContainerCreateOptions{
		Name: name, Config: &container.Config{Image: "busybox", Cmd: []string{"/bin/busybox", "sleep", "1000"}},
		HostConfig: &container.HostConfig{NetworkMode: network},
	})
	if err == nil {
		_, err = c.ContainerStart(context.Background(), made.ID, client.ContainerStartOptions{})
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return made.ID
}

func (e *engine) remove(id string) {
	e.t.Helper()
	c := e.client()
	defer c.Close()
	if _, err := c.ContainerRemove(context.Background(), id, client.ContainerRemoveOptions{Force: true}); err != nil {
		e.t.Fatal(err)
	}
}
