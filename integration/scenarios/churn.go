package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// churn: attach and detach, over and over, leave nothing behind: no interface, descriptor, goroutine or state.
func churn(t *T, e *Env) {
	m := newMesh(t, e, 1)
	m.start()
	n := m.nodes[0]
	c := m.container(n)
	cycle := func() {
		c.attach("10.32.0.1/24")
		_, err := n.Must(t.Context(), "detach", strconv.Itoa(c.pid))
		t.ok(err)
	}
	for range 5 {
		cycle() // opens what is opened once
	}
	before := m.belongings(n, c)
	start := time.Now()
	cycles := t.count(1000, 100)
	for range cycles {
		cycle()
	}
	t.Logf("%d cycles in %v, %v each", cycles, time.Since(start).Round(time.Millisecond),
		(time.Since(start) / time.Duration(cycles)).Round(time.Millisecond))
	t.eventually(10*time.Second, func(context.Context) error {
		if now := m.belongings(n, c); now != before {
			return fmt.Errorf("after %d cycles %s, before %s", cycles, now, before)
		}
		return nil
	})
	t.Logf("before and after: %s", before)

	// A container that vanishes while it is plugged in takes its port with it.
	c.attach("10.32.0.1/24")
	c.remove()
	t.eventually(10*time.Second, func(ctx context.Context) error {
		if now := len(m.overlay(n).devices()); now != before.interfaces {
			return fmt.Errorf("%d interfaces in the overlay namespace, before the container came %d", now, before.interfaces)
		}
		left, err := n.Must(ctx, "ps")
		if err == nil && strings.Contains(left, "10.32.0.1") {
			err = errors.New("ps lists what does not exist any more: " + left)
		}
		return err
	})
}

// belongings is what a node holds.
type belongings struct{ interfaces, inContainer, descriptors, goroutines, ports int }

func (b belongings) String() string {
	return fmt.Sprintf("%d interfaces, %d in the container, %d descriptors, %d goroutines, %d ports",
		b.interfaces, b.inContainer, b.descriptors, b.goroutines, b.ports)
}

var goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)

func (m *mesh) belongings(n *lab.Node, c *container) belongings {
	m.t.Helper()
	var page string
	out, err := lab.Must(m.t.Context(), n.Machine, m.env.Probe, "get", "http://127.0.0.1:6782/metrics")
	m.t.ok(err)
	m.t.ok(json.Unmarshal([]byte(out), &page))
	found := goroutines.FindStringSubmatch(page)
	if found == nil {
		m.t.Fatalf("no go_goroutines in /metrics: %.300s", page)
	}
	count, err := strconv.Atoi(found[1])
	m.t.ok(err)
	files, err := lab.Must(m.t.Context(), n.Machine, "ls", fmt.Sprintf("/proc/%d/fd", n.Daemon().PID()))
	m.t.ok(err)
	var ports struct{ Ports []any }
	m.t.ok(n.JSON(m.t.Context(), &ports, "ps"))
	return belongings{
		interfaces: len(m.overlay(n).devices()), inContainer: len(c.devices()),
		descriptors: len(strings.Fields(files)), goroutines: count, ports: len(ports.Ports),
	}
}
