package scenarios

import (
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// macMove: a hardware address that appears on another host, and says so by a gratuitous ARP, is reached there from
// everywhere at once, as after the live migration of a virtual machine.
func macMove(t *T, e *Env) {
	const mac, addr = "02:00:00:aa:bb:01", "10.32.0.50/24"
	m := newMesh(t, e, 3)
	m.up()
	watchers := m.pluggedAll()
	here, there := m.plugged(m.nodes[0], "none"), m.plugged(m.nodes[1], "none")
	arrive := func(c *container) {
		c.run("ip", "link", "set", "ethwe", "address", mac, "up")
		c.run("ip", "addr", "replace", addr, "dev", "ethwe")
	}
	leave := func(c *container) { c.run("ip", "link", "set", "ethwe", "down") }
	leave(there)
	arrive(here)
	for _, w := range watchers {
		w.reaches(v4(49))
	}
	for range t.count(50, 5) {
		var pings []*task
		for _, w := range watchers {
			pings = append(pings, w.start(false, "ping", v4(49).String(), "-every", t.pace(5*time.Millisecond)))
		}
		for _, w := range watchers { // the pings run, as one that was started later is answered
			w.reaches(v4(49))
		}
		leave(here)
		arrive(there)
		var announced time.Time // by the clock of the machines
		there.start(false, "announce", "ethwe", mac, v4(49).String()).answer(5*time.Second, &announced)
		for _, w := range watchers {
			w.reaches(v4(49))
			w.ping(v4(49), "-count", "25", "-every", t.pace(20*time.Millisecond)) // and it stays so
		}
		for i, k := range pings {
			var r lab.PingReport
			k.stop(&r)
			after, ok := r.FirstAnswerAfter(announced)
			if !ok {
				t.Errorf("node %d never reaches the address again: %s", i, r)
			}
			t.atMost(m.nodes[i].Name()+" reaches it again after the move", after, 200*time.Millisecond)
			if lost := r.LostBetween(announced.Add(200*time.Millisecond), time.Time{}); lost > 0 {
				t.Errorf("%s: %d lost later than 200 ms after the move: %s", m.nodes[i].Name(), lost, r)
			}
		}
		here, there = there, here
	}
}
