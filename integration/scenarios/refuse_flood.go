package scenarios

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// floodSize is how many connections of strangers a node is kept busy with.
const floodSize = 2000

// floodAddresses is how many addresses they have: budgets are for each.
const floodAddresses = 100

// refuseFlood: strangers with many addresses keep thousands of connections open. A member whom the node never saw joins all
// the same, frames go on, and the node grows by little.
func refuseFlood(t *T, e *Env) {
	m := newMesh(t, e, 3)
	a, b, newcomer := m.nodes[0], m.nodes[1], m.nodes[2]
	for _, n := range []*lab.Node{a, b} {
		t.ok(n.Up(t.within(20 * time.Second)))
	}
	t.ok(b.WaitFor(t.within(20*time.Second), "peer="+a.Name()))
	here, there := m.plugged(a, v4(0).String()+"/24"), m.plugged(b, v4(1).String()+"/24")
	there.reaches(v4(0))
	before := memory(t, a)

	outside := e.Sites[3]
	var sources []string
	script := "true"
	for i := range floodAddresses {
		sources = append(sources, "192.0.2."+strconv.Itoa(100+i))
		script += " && ip addr add " + sources[i] + "/24 dev eth0"
	}
	_, err := lab.Must(t.Context(), outside, "sh", "-c", script)
	t.ok(err)
	flood, err := outside.Start(t.Context(), append([]string{e.Probe, "flood", e.Sites[0].Addr4.String() + ":6783", strconv.Itoa(floodSize)}, sources...)...)
	t.ok(err)
	t.ok(firstLine(t.within(20*time.Second), flood))
	t.says(a, 10*time.Second, "connections from 192.0.2.1")

	t.ok(newcomer.Launch(t.Context()))
	t.ok(newcomer.WaitFor(t.within(20*time.Second), "ready"))
	start := time.Now()
	t.ok(newcomer.WaitFor(t.within(20*time.Second), "peer="+a.Name()))
	t.atMost("a new member joins through the flood", time.Since(start), 2*time.Second)
	if r := there.ping(v4(0), "-count", "100", "-every", "10ms"); r.Lost() > 0 {
		t.Errorf("%d of %d frames lost during the flood", r.Lost(), r.Sent())
	}
	during := memory(t, a)
	t.Logf("%d connections of strangers: memory %d kB, before %d kB", floodSize, during>>10, before>>10)
	if grown := during - before; grown > 32<<20 {
		t.Errorf("the node grew by %d kB", grown>>10)
	}
	var did struct{ Opened, Bytes int64 }
	(&task{Process: flood, t: t}).stop(&did)
	t.Logf("%d connections in all, %d bytes answered", did.Opened, did.Bytes)
	if did.Opened < floodSize/2 || did.Bytes != 0 {
		t.Errorf("%d connections were opened and %d bytes answered", did.Opened, did.Bytes)
	}
	here.reaches(v4(1))
}

// memory is what a node's daemon keeps resident, in bytes.
func memory(t *T, n *lab.Node) int64 {
	t.Helper()
	text, err := lab.Must(t.Context(), n.Machine, "cat", fmt.Sprintf("/proc/%d/status", n.Daemon().PID()))
	t.ok(err)
	for line := range strings.Lines(text) {
		if kB, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kB), "kB")), 10, 64)
			t.ok(err)
			return n << 10
		}
	}
	t.Fatalf("no VmRSS: %.200s", text)
	return 0
}

// comings: a peer that comes and goes, over and over, leaves nothing behind at the others.
func comings(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	a, b := m.nodes[0], m.nodes[1]
	c := m.container(a) // only to count with
	cycle := func(i int) {
		end := b.Kill
		if i%2 == 0 {
			end = b.Terminate
		}
		t.ok(end(t.within(10 * time.Second)))
		t.ok(b.Up(t.within(20 * time.Second)))
		t.ok(b.WaitFor(t.within(20*time.Second), "peer="+a.Name()))
	}
	for i := range 4 {
		cycle(i) // opens what is opened once
	}
	before := m.belongings(a, c)
	cycles := t.count(200, 20)
	start := time.Now()
	for i := range cycles {
		cycle(i)
	}
	t.Logf("%d cycles in %v", cycles, time.Since(start).Round(time.Millisecond))
	var now belongings
	t.eventually(10*time.Second, func(context.Context) error {
		if now = m.belongings(a, c); now != before {
			return fmt.Errorf("after %d cycles %s, before %s", cycles, now, before)
		}
		return nil
	})
	t.Logf("before and after: %s", now)
}
