package scenarios

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// refused runs "up" with a configuration, which has to end with exit 1 and one line that holds all of want.
func (m *mesh) refused(n *lab.Node, what, file string, want ...string) {
	m.t.Helper()
	r, err := n.Run(m.t.within(20*time.Second), m.env.Binary, "up", "-c", file, "--log-level", "error")
	m.t.ok(err)
	said := strings.TrimSpace(r.Stderr)
	m.t.Logf("%s: exit %d: %s", what, r.Exit, said)
	if r.Exit != 1 || strings.Contains(said, "\n") {
		m.t.Errorf("%s: exit %d and %q, want 1 and one line", what, r.Exit, said)
	}
	for _, text := range want {
		if !strings.Contains(said, text) {
			m.t.Errorf("%s: does not say %q: %s", what, text, said)
		}
	}
}

// refuseTaken: what a start needs and somebody else has is named, with its holder and the key to change; nothing is left
// half done.
func refuseTaken(t *T, e *Env) {
	m := newMesh(t, e, 1)
	n := m.nodes[0]
	write := func(more string) {
		t.Helper()
		n.Spec.More = more
		t.ok(n.WriteConfig(t.Context()))
	}
	squat := func(port string) lab.Process {
		t.Helper()
		p, err := n.Start(t.Context(), e.Probe, "squat", "tcp", port)
		t.ok(err)
		t.ok(firstLine(t.within(5*time.Second), p))
		return p
	}
	for _, c := range []struct{ what, port, more, hint string }{
		{"another control port", "4443", "listen: {also_tcp: [4443]}\n", ": change listen.also_tcp"},
		{"the metrics port", "6782", "", ": set api.metrics to another address, or to \"\" for none"},
	} {
		write(c.more)
		p := squat(c.port)
		m.refused(n, c.what, n.ConfigPath(), fmt.Sprintf("port %s/tcp is taken by probe (pid %d)", c.port, p.PID()), c.hint)
		t.ok(m.gone(t.within(5*time.Second), n))
		t.ok(p.Signal(9))
		_, err := p.Wait(t.within(5 * time.Second))
		t.ok(err)
	}
	write("listen: {address: 198.51.100.77}\n")
	m.refused(n, "an address of another host", n.ConfigPath(), "listen.address: this host has no address 198.51.100.77")
	t.ok(m.gone(t.within(5*time.Second), n))
	write("")

	shell := func(script string) {
		t.Helper()
		_, err := lab.Must(t.Context(), n.Machine, "sh", "-ec", script)
		t.ok(err)
	}
	run, socket := n.RunDir(), n.RunDir()+"/weavewg.sock"
	for _, c := range []struct{ what, spoil, mend, want string }{
		{"run_dir is a file", "rm -rf " + run + "; echo >" + run, "rm " + run, "run_dir: mkdir " + run + ": not a directory"},
		{"run_dir for all to write", "mkdir -p " + run + "; chmod 777 " + run, "chmod 755 " + run, "run_dir " + run + ": file mode 0777: others could replace the socket; need 0755"},
		{"a file where the API socket belongs", "echo >" + socket, "rm " + socket, socket + " is there and is no socket: remove it"},
		{"state_dir is a file", "mv " + n.StateDir() + " " + n.StateDir() + ".away; echo >" + n.StateDir(), "rm " + n.StateDir() + "; mv " + n.StateDir() + ".away " + n.StateDir(),
			"state_dir: " + n.StateDir() + ": not a directory"},
	} {
		shell(c.spoil)
		m.refused(n, c.what, n.ConfigPath(), c.want)
		t.ok(m.gone(t.within(5*time.Second), n))
		shell(c.mend)
	}

	m.start()
	pid := n.Daemon().PID()
	config := func(state, run string) string {
		return "mesh: lab\nnode: {name: second}\nsecret_file: " + n.Spec.Dir + "/secret\nstate_dir: " + state + "\nrun_dir: " + run + "\n"
	}
	running := m.processes(n, n.Spec.Dir)
	for _, c := range []struct{ what, state, run, want string }{
		{"the same state_dir", n.StateDir(), run + "2", fmt.Sprintf("state_dir %s is in use by another weavewg (pid %d): give each node its own state_dir", n.StateDir(), pid)},
		{"the same run_dir", n.StateDir() + "2", run, fmt.Sprintf("run_dir %s is in use by another daemon (pid %d)", run, pid)},
		{"the same port", n.StateDir() + "3", run + "3", fmt.Sprintf("port 6783/tcp is taken by weavewg (pid %d): set listen.port", pid)},
	} {
		file := n.Spec.Dir + "/second.yaml"
		t.ok(n.WriteFile(t.Context(), file, config(c.state, c.run), 0o644))
		m.refused(n, c.what, file, c.want)
		t.eventually(5*time.Second, func(context.Context) error {
			if now := m.processes(n, n.Spec.Dir); len(now) != len(running) {
				return fmt.Errorf("%s: %d processes, there were %d", c.what, len(now), len(running))
			}
			return nil
		})
	}
	if s := t.status(n); s.Node.PID != pid || !s.Ready {
		t.Errorf("the first daemon: %+v", s.Node)
	}
	m.takenNames(n)
}

// takenNames: names of interfaces that are taken in the host, in a container and in the overlay namespace.
func (m *mesh) takenNames(n *lab.Node) {
	t := m.t
	t.Helper()
	_, err := lab.Must(t.Context(), n.Machine, "ip", "link", "add", "weavewg", "type", "veth", "peer", "name", "other-end")
	t.ok(err)
	out, err := n.Must(t.Context(), "expose", "10.32.0.1/24")
	t.ok(err)
	if !strings.HasPrefix(out, "weavewg1 ") {
		t.Errorf("expose where weavewg is taken: %s", out)
	}

	c := m.container(n)
	c.run("ip", "link", "add", "ethwe", "type", "veth", "peer", "name", "eth7")
	before := c.devices()
	r, err := n.Command(t.Context(), "attach", strconv.Itoa(c.pid), "10.32.0.2/24", "--as", "eth7")
	t.ok(err)
	if r.Exit != 1 || strings.TrimSpace(r.Stderr) != "there is an interface eth7 in the target already: choose another name with --as" {
		t.Errorf("attach --as eth7: exit %d: %s", r.Exit, r.Stderr)
	}
	c.sameDevices(before)
	if out, err := n.Must(t.Context(), "ps"); err != nil || strings.Contains(out, "10.32.0.2") {
		t.Errorf("the refused port is listed: %s, %v", out, err)
	}
	out, err = n.Must(t.Context(), "attach", strconv.Itoa(c.pid), "10.32.0.2/24")
	t.ok(err)
	if !strings.HasPrefix(out, "ethwe1 ") {
		t.Errorf("attach where ethwe is taken: %s", out)
	}

	// A bridge's name that somebody took in the overlay namespace: the start is refused, and what runs there runs on.
	overlay := m.overlay(n)
	t.ok(n.Terminate(t.within(10 * time.Second)))
	overlay.run("ip", "link", "add", "br-00004d", "type", "veth", "peer", "name", "foreign")
	there := overlay.devices()
	n.Spec.More = "networks: [{name: default}, {name: other, vni: 77}]\n"
	t.ok(n.WriteConfig(t.Context()))
	m.refused(n, "a bridge's name", n.ConfigPath(), "network other", "br-00004d exists in the overlay namespace and is no bridge but veth: remove it")
	now := overlay.devices()
	for name, was := range there {
		if now[name].Index != was.Index {
			t.Errorf("the refused start changed %s: %+v, %+v", name, was, now[name])
		}
	}
	overlay.run("ip", "link", "del", "br-00004d")
	m.start()
	if p := t.status(n).Problems; len(p) > 0 {
		t.Errorf("problems: %+v", p)
	}
	c.reaches(v4(0))
}
