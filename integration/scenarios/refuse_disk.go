package scenarios

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// refuseDisk: a state_dir that is full or cannot be written. A first start is refused; a running node goes on and says so,
// and promises nothing that it could not keep; with room again all is well.
func refuseDisk(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	n := m.nodes[0]
	state := n.StateDir()
	inside := func(script string) string { // where the daemon sees its state_dir
		t.Helper()
		out, err := lab.Must(t.Context(), n.Machine, "nsenter", "-t", strconv.Itoa(n.Daemon().PID()), "-m", "sh", "-ec", script)
		t.ok(err)
		return out
	}

	// The state_dir on a small disk of its own, which only this daemon sees, and which is full.
	t.ok(n.Terminate(t.within(10 * time.Second)))
	copied := n.Spec.Dir + "/copy"
	m.launchBehind(n, `cp -a `+state+` `+copied+`
mount -t tmpfs -o size=128k,mode=700 none `+state+`
cp -a `+copied+`/. `+state+`
rm -r `+copied+`
dd if=/dev/zero of=`+state+`/fill bs=1k 2>/dev/null || true`)
	t.ok(n.WaitFor(t.within(20*time.Second), "ready"))
	t.says(n, 10*time.Second, "no space left on device")
	t.says(n, time.Second, "state-write")
	m.linked()
	all[1].reaches(v4(0)) // what was plugged in is again

	before := inside("cat " + state + "/state.json")
	c := m.container(n)
	for _, argv := range [][]string{
		{"attach", strconv.Itoa(c.pid), "10.32.0.77/24"}, {"expose", "10.32.0.78/24"}, {"connect", "192.0.2.250"},
		{"attach", strconv.Itoa(all[0].pid), "10.32.0.80/24"}, // to the port that is there
	} {
		r, err := n.Command(t.Context(), argv...)
		t.ok(err)
		t.Logf("%s: exit %d: %s", argv[0], r.Exit, strings.TrimSpace(r.Stderr))
		if r.Exit != 1 || !strings.Contains(r.Stderr, "state.json: no space left on device") || strings.Count(strings.TrimSpace(r.Stderr), "\n") > 0 {
			t.Errorf("%s: exit %d: %s", argv[0], r.Exit, r.Stderr)
		}
	}
	n.Spec.More = "networks: [{name: default, address: 10.32.0.79/24}, {name: more}]\n"
	t.ok(n.WriteConfig(t.Context()))
	r, err := n.Command(t.Context(), "config", "reload")
	t.ok(err)
	t.Logf("reload: exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
	if r.Exit != 1 || !strings.Contains(r.Stderr, "no space left on device; the running configuration stays") {
		t.Errorf("reload: exit %d: %s", r.Exit, r.Stderr)
	}
	if s := t.status(n); len(s.Networks) != 1 {
		t.Errorf("the refused reload was applied in part: %+v", s.Networks)
	}
	if text := all[0].run("ip", "-4", "addr"); strings.Contains(text, "10.32.0.80") || !strings.Contains(text, v4(0).String()) {
		t.Errorf("the refused address is there: %s", text)
	}
	if d := c.devices(); len(d) != 1 {
		t.Errorf("the refused attach left %v", d)
	}
	if r, err := n.Command(t.Context(), "status", "--check", "ready"); err != nil || r.Exit != 4 {
		t.Errorf("status --check ready: %+v, %v", r, err)
	}
	if r := all[1].ping(v4(0), "-count", "50", "-every", "10ms"); r.Lost() > 0 {
		t.Errorf("%d of %d frames lost", r.Lost(), r.Sent())
	}
	if after := inside("cat " + state + "/state.json"); after != before {
		t.Errorf("the state changed on a full disk:\n%s\n%s", before, after)
	}

	inside("rm " + state + "/fill")
	c.attach("10.32.0.77/24")
	_, err = n.Must(t.Context(), "connect", "192.0.2.251")
	t.ok(err)
	t.eventually(5*time.Second, func(context.Context) error {
		for _, p := range t.status(n).Problems {
			if p.Code == "state-write" {
				return fmt.Errorf("still a problem: %s", p.Message)
			}
		}
		return nil
	})

	_, err = n.Must(t.Context(), "config", "reload")
	t.ok(err)
	all[1].reaches(netip.MustParseAddr("10.32.0.79"))

	// Something read-only in its place.
	inside("mount -t tmpfs -o size=64k,ro none " + state)
	r, err = n.Command(t.Context(), "detach", strconv.Itoa(c.pid))
	t.ok(err)
	t.Logf("detach, read-only: exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
	if r.Exit != 1 || !strings.Contains(r.Stderr, "read-only file system") {
		t.Errorf("detach: exit %d: %s", r.Exit, r.Stderr)
	}
	if d := c.devices(); len(d) != 2 {
		t.Errorf("the refused detach left %v", d)
	}
	_, err = n.Must(t.Context(), "down")
	t.ok(err)

	// A first start, which has to make an identity, is refused.
	for _, c := range []struct{ mount, want string }{
		{"mount -t tmpfs -o size=4k none " + state + "; dd if=/dev/zero of=" + state + "/fill bs=4k count=1 2>/dev/null || true", "no space left on device"},
		{"mount -t tmpfs -o ro none " + state, "read-only file system"},
	} {
		r, err := n.Run(t.within(20*time.Second), "unshare", "-m", "--propagation", "private", "sh", "-c",
			c.mount+"; exec "+e.Binary+" up -c "+n.ConfigPath())
		t.ok(err)
		said := strings.TrimSpace(r.Stderr)
		t.Logf("first start: exit %d: %s", r.Exit, said)
		if r.Exit != 1 || !strings.Contains(said, state) || !strings.HasSuffix(said, c.want) || strings.Contains(said, "\n") {
			t.Errorf("first start: exit %d: %s", r.Exit, said)
		}
		t.ok(m.gone(t.within(5*time.Second), n))
	}
}
