package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// container is a namespace on a node's machine, as a container has one, held by a process.
type container struct {
	t     *T
	node  *lab.Node
	probe string
	pid   int
	hold  lab.Process
}

// container makes a namespace on the machine of a node; nothing is plugged in yet.
func (m *mesh) container(n *lab.Node) *container {
	m.t.Helper()
	p, err := n.Start(m.t.Context(), m.env.Probe, "hold")
	m.t.ok(err)
	c := &container{t: m.t, node: n, probe: m.env.Probe, hold: p}
	m.t.ok(firstLine(m.t.within(10*time.Second), p))
	c.pid, err = strconv.Atoi(strings.TrimSpace(p.Output().Stdout))
	m.t.ok(err)
	return c
}

// plugged makes a container and attaches it with addresses, or "none".
func (m *mesh) plugged(n *lab.Node, args ...string) *container {
	m.t.Helper()
	c := m.container(n)
	c.attach(args...)
	return c
}

// pluggedAll makes a container on every node: 10.32.0.1/24 and fd32::1/64 on the first, and so on.
func (m *mesh) pluggedAll() []*container {
	m.t.Helper()
	var all []*container
	for i, n := range m.nodes {
		all = append(all, m.plugged(n, v4(i).String()+"/24", v6(i).String()+"/64"))
	}
	return all
}

// v4 and v6 are the addresses of the container on node i.
func v4(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 32, 0, byte(i + 1)}) }
func v6(i int) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x32, 15: byte(i + 1)})
}

// attach plugs the container in; args follow the target.
func (c *container) attach(args ...string) {
	c.t.Helper()
	_, err := c.node.Must(c.t.Context(), append([]string{"attach", strconv.Itoa(c.pid)}, args...)...)
	c.t.ok(err)
}

// remove ends the process that holds the namespace.
func (c *container) remove() {
	c.t.Helper()
	c.t.ok(c.hold.Signal(syscall.SIGTERM))
	_, err := c.hold.Wait(c.t.within(5 * time.Second))
	c.t.ok(err)
}

// argv is the probe's command line inside the namespace.
func (c *container) argv(args []string) []string {
	return append([]string{c.probe, "-in", strconv.Itoa(c.pid)}, args...)
}

// run runs a program inside the namespace, which has to succeed.
func (c *container) run(args ...string) string {
	c.t.Helper()
	out, err := lab.Must(c.t.Context(), c.node.Machine, c.argv(append([]string{"exec"}, args...))...)
	c.t.ok(err)
	return out
}

// task is a probe that runs inside a namespace.
type task struct {
	lab.Process
	t *T
}

// start starts a probe; ready says that it prints a line when it is ready, which is waited for.
func (c *container) start(ready bool, args ...string) *task {
	c.t.Helper()
	p, err := c.node.Start(c.t.Context(), c.argv(args)...)
	c.t.ok(err)
	if ready {
		c.t.ok(firstLine(c.t.within(10*time.Second), p))
	}
	return &task{Process: p, t: c.t}
}

// answer waits for the end of a task and decodes the last line of its output.
func (k *task) answer(d time.Duration, into any) {
	k.t.Helper()
	r, err := k.Wait(k.t.within(d))
	if err == nil {
		err = r.OK()
	}
	k.t.ok(err)
	lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
	k.t.ok(json.Unmarshal([]byte(lines[len(lines)-1]), into))
}

// stop asks a task to end and decodes its answer.
func (k *task) stop(into any) {
	k.t.Helper()
	k.t.ok(k.Signal(syscall.SIGTERM))
	k.answer(10*time.Second, into)
}

// ping sends a number of requests and returns the report.
func (c *container) ping(to netip.Addr, args ...string) lab.PingReport {
	c.t.Helper()
	var r lab.PingReport
	c.start(false, append([]string{"ping", to.String()}, args...)...).answer(time.Minute, &r)
	c.t.Logf("%s's container to %s: %s", c.node.Name(), to, r)
	return r
}

// reaches waits for the first answer from an address.
func (c *container) reaches(to netip.Addr) {
	c.t.Helper()
	r := c.ping(to, "-stop", "1", "-every", c.t.pace(20*time.Millisecond), "-count", "500")
	if r.Sent() == r.Lost() {
		c.t.Fatalf("%s's container does not reach %s", c.node.Name(), to)
	}
}

// device is what "ip -j link" says of an interface.
type device struct {
	Name  string `json:"ifname"`
	Index int    `json:"ifindex"`
	MTU   int    `json:"mtu"`
	MAC   string `json:"address"`
}

// devices are the namespace's interfaces, by name.
func (c *container) devices() map[string]device {
	c.t.Helper()
	var links []device
	c.t.ok(json.Unmarshal([]byte(c.run("ip", "-j", "link")), &links))
	all := make(map[string]device)
	for _, l := range links {
		all[l.Name] = l
	}
	return all
}

// sameDevices fails the test unless the interfaces are the very same as before.
func (c *container) sameDevices(before map[string]device) {
	c.t.Helper()
	now := c.devices()
	for name, was := range before {
		if now[name].Index != was.Index {
			c.t.Errorf("%s had index %d, has %d", name, was.Index, now[name].Index)
		}
	}
	if len(now) != len(before) {
		c.t.Errorf("%d interfaces, there were %d", len(now), len(before))
	}
}

// firstLine waits until a process has printed a line.
func firstLine(ctx context.Context, p lab.Process) error {
	return lab.Until(ctx, func(context.Context) error {
		r := p.Output()
		switch {
		case strings.Contains(r.Stdout, "\n"):
			return nil
		case r.Exit >= 0:
			return lab.Final(fmt.Errorf("ended: %w", r.OK()))
		}
		return fmt.Errorf("process %d prints nothing", p.PID())
	})
}
