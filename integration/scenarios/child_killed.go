package scenarios

import (
	"strconv"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// childKilled: a WireGuard process that is killed under load is replaced on the same interface, and its tunnels carry
// again within a second.
func childKilled(t *T, e *Env) {
	m := newMesh(t, e, 2, withYAML("wireguard: userspace\n"))
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	a := m.nodes[0]
	before := m.overlay(a).devices()
	sink := all[1].start(true, "sink", v4(1).String()+":9000")
	for range t.count(20, 3) {
		load := all[0].start(false, "send", v4(1).String()+":9000", strconv.Itoa(100<<20))
		ping := all[0].start(false, "ping", v4(1).String(), "-every", t.pace(5*time.Millisecond))
		all[0].reaches(v4(1))
		child := m.child(a, 0)
		killed := time.Now()
		_, err := lab.Must(t.Context(), a.Machine, "kill", "-9", strconv.Itoa(child.PID))
		t.ok(err)
		all[0].reaches(v4(1))
		var moved lab.Transfer
		load.answer(time.Minute, &moved)
		t.Logf("TCP all the while: %.0f Mbit/s", moved.Mbits())
		var r lab.PingReport
		ping.stop(&r)
		t.Logf("across the kill: %s", r)
		t.atMost("gap after the kill", r.LongestGapAfter(killed.Add(-50*time.Millisecond)), time.Second)
		if again := m.child(a, 0); again.PID == child.PID {
			t.Errorf("process %d was not killed", child.PID)
		}
	}
	m.overlay(a).sameDevices(before)
	sink.stop(new(any))
}
