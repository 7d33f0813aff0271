package scenarios

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// containers: what a real dockerd runs is plugged in by name, comes back with its addresses when it is restarted, is
// created plugged in by run, and leaves nothing when it is removed.
func containers(t *T, e *Env) {
	docker := startDocker(t, e.Sites[0])
	m := newMesh(t, e, 2, func(i int, s *lab.NodeSpec) {
		if i == 0 {
			s.Env = []string{"DOCKER_HOST=" + docker.host}
		}
	})
	m.up()
	a := m.nodes[0]
	far := m.plugged(m.nodes[1], "10.32.0.2/24")

	docker.must("run", "-d", "--name", "web", "--network", "none", "busybox:lab", "/bin/busybox", "sleep", "86400")
	out, err := a.Must(t.Context(), "attach", "web", "10.32.0.1/24")
	t.ok(err)
	t.Logf("attach: %s", strings.TrimSpace(out))
	far.reaches(v4(0))

	// Weave's way: attached again after a restart, with the address it had.
	docker.must("restart", "-t", "0", "web")
	restarted := time.Now()
	far.reaches(v4(0))
	t.atMost("reached again after docker restart", time.Since(restarted), 5*time.Second)

	// The daemon's own restart restores it as well, also when the container was restarted meanwhile.
	t.ok(a.Kill(t.within(5 * time.Second)))
	docker.must("restart", "-t", "0", "web")
	t.ok(a.Up(t.within(20 * time.Second)))
	restarted = time.Now()
	far.reaches(v4(0))
	t.atMost("reached again after both restarts", time.Since(restarted), 5*time.Second)

	out, err = a.Must(t.Context(), "run", "10.32.0.9/24", "--", "-d", "--name", "two", "--network", "none",
		"busybox:lab", "/bin/busybox", "sleep", "86400")
	t.ok(err)
	t.Logf("run: %s", strings.TrimSpace(out))
	far.reaches(v4(8))
	listed, err := a.Must(t.Context(), "ps")
	t.ok(err)
	t.Logf("ps:\n%s", listed)
	for _, want := range []string{"web", "two", "10.32.0.1/24", "10.32.0.9/24"} {
		if !strings.Contains(listed, want) {
			t.Errorf("ps lacks %s: %s", want, listed)
		}
	}

	docker.must("rm", "-f", "two")
	t.eventually(5*time.Second, func(ctx context.Context) error {
		listed, err := a.Must(ctx, "ps")
		if err == nil && strings.Contains(listed, "two") {
			err = errors.New("ps lists a container that was removed: " + listed)
		}
		return err
	})
	_, err = a.Must(t.Context(), "detach", "web")
	t.ok(err)
	if r := far.ping(v4(0), "-count", "5", "-every", t.pace(20*time.Millisecond)); r.Lost() != r.Sent() {
		t.Errorf("after detach: %s", r)
	}

	r, err := a.Command(t.Context(), "attach", "nosuch", "10.32.0.7/24")
	t.ok(err)
	t.Logf("attach of what is not there: exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
	if r.Exit != 1 || !strings.Contains(r.Stderr, "nosuch") {
		t.Errorf("attach of what is not there: %+v", r)
	}
}

// dockerd is a Docker daemon of our own, on one site.
type dockerd struct {
	t    *T
	site *Site
	host string // as in DOCKER_HOST
}

// startDocker starts Debian's dockerd, which has no registry here: its one image is made of busybox-static.
func startDocker(t *T, s *Site) *dockerd {
	t.Helper()
	dir := filepath.Join(s.Dir, "docker")
	d := &dockerd{t: t, site: s, host: "unix://" + dir + "/sock"}
	// Files of its own; no bridge and no firewall rules: containers get their network from weavewg.
	p, err := s.Start(t.Context(), "dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "-H", d.host,
		"--pidfile", dir+"/pid", "--storage-driver", "vfs", "--bridge", "none", "--iptables=false", "--ip6tables=false")
	t.ok(err)
	t.Cleanup(func() { d.stop(p) })
	t.eventually(30*time.Second, func(ctx context.Context) error {
		if r := p.Output(); r.Exit >= 0 {
			return lab.Final(fmt.Errorf("dockerd: %w", r.OK()))
		}
		_, err := lab.Must(ctx, s, "docker", "-H", d.host, "info")
		return err
	})
	image := filepath.Join(t.TempDir(), "busybox.tar")
	t.ok(busyboxImage(image))
	d.must("import", image, "busybox:lab")
	return d
}

// must runs a docker command that has to succeed.
func (d *dockerd) must(argv ...string) string {
	d.t.Helper()
	out, err := lab.Must(d.t.Context(), d.site, append([]string{"docker", "-H", d.host}, argv...)...)
	d.t.ok(err)
	return out
}

// stop removes the containers, so that nothing is mounted any more, then ends the daemon.
func (d *dockerd) stop(p lab.Process) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	script := `ids=$(docker -H "$1" ps -aq) && [ -z "$ids" ] || docker -H "$1" rm -f $ids`
	if _, err := lab.Must(ctx, d.site, "sh", "-c", script, "sh", d.host); err != nil {
		d.t.Errorf("remove containers: %v", err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		d.t.Errorf("end dockerd: %v", err)
	}
	if _, err := p.Wait(ctx); err != nil {
		d.t.Errorf("end dockerd: %v", err)
	}
}

// busyboxImage writes a root file system with nothing but busybox.
func busyboxImage(path string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"bin/", "etc/", "proc/", "sys/", "dev/"} {
		if err := w.WriteHeader(&tar.Header{Name: dir, Mode: 0o755, Typeflag: tar.TypeDir}); err != nil {
			return err
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))}); err != nil {
		return err
	}
	if _, err := w.Write(program); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o600)
}
