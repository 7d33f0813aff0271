package scenarios

import (
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// daemonKilled: the data plane outlives the daemon. While it is dead and starts again, no ping between overlay
// addresses is lost; containers on the pcap datapath, which needs it, wait at most a second from its new start.
func daemonKilled(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	a, b := m.nodes[0], m.nodes[1]
	overlay := m.overlay(b)
	before := overlay.devices()
	keeper := m.keeper(a)
	for range t.count(20, 2) {
		address := t.peer(b, a).Overlay
		pingOverlay := overlay.start(false, "ping", address.String(), "-every", t.pace(5*time.Millisecond))
		pingContainer := all[1].start(false, "ping", v4(0).String(), "-every", t.pace(5*time.Millisecond))
		overlay.reaches(address)
		all[1].reaches(v4(0))

		t.ok(a.Kill(t.within(5 * time.Second)))
		if r, err := a.Command(t.Context(), "status"); err != nil || r.Exit != 3 {
			t.Errorf("status of a dead daemon: %+v %v, want exit 3", r, err)
		}
		started := time.Now()
		t.ok(a.Up(t.within(20 * time.Second)))
		t.Logf("ready again after %v", time.Since(started).Round(time.Millisecond))
		all[1].reaches(v4(0))
		m.linked()
		all[1].reaches(v4(0))

		var r lab.PingReport
		pingOverlay.stop(&r)
		t.Logf("between overlay addresses: %s", r)
		if r.Lost() > 0 {
			t.Errorf("%d pings between overlay addresses were lost", r.Lost())
		}
		r = lab.PingReport{}
		pingContainer.stop(&r)
		t.Logf("between containers: %s", r)
		if e.Net != nil { // one clock for all
			t.atMost("gap between containers after the daemon's start", r.LongestGapAfter(started), time.Second)
		}
	}
	if m.keeper(a) != keeper {
		t.Errorf("the keeper was replaced")
	}
	overlay.sameDevices(before)
}
