package scenarios

import (
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
)

// firstPing: from `up -d` on two hosts to the first answered ping between containers.
func firstPing(t *T, e *Env) {
	m := newMesh(t, e, 2)
	a, b := m.container(m.nodes[0]), m.container(m.nodes[1])
	start := time.Now()
	var both errgroup.Group
	for _, n := range m.nodes {
		both.Go(func() error { return n.UpDetached(t.Context()) })
	}
	t.ok(both.Wait())
	t.Logf("up -d returned after %v", time.Since(start).Round(time.Millisecond))
	var plug errgroup.Group
	for i, c := range []*container{a, b} {
		plug.Go(func() error { c.attach(v4(i).String()+"/24", v6(i).String()+"/64"); return nil })
	}
	t.ok(plug.Wait())
	t.Logf("attached after %v", time.Since(start).Round(time.Millisecond))
	a.reaches(v4(1))
	took := time.Since(start)
	if e.Net != nil {
		t.atMost("from up -d to the first ping", took, 2*time.Second)
	} else {
		t.Logf("from up -d to the first ping: %v", took.Round(time.Millisecond))
	}
	a.reaches(v6(1))
	for _, to := range []netip.Addr{v4(0), v6(0)} {
		r := b.ping(to, "-count", "50", "-every", t.pace(10*time.Millisecond))
		if r.Lost() > 0 || r.Duplicates > 0 {
			t.Errorf("%s: %s", to, r)
		}
	}
}
