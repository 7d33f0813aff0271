package scenarios

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/integration/lab"
)

// partialTCP: two of three cannot open TCP to each other; their control session goes through the third, as
// ciphertext, and their frames go directly.
func partialTCP(t *T, e *Env) {
	b, c := e.Net.Links[1], e.Net.Links[2]
	for _, f := range []lab.Filter{{From: b, To: c}, {From: c, To: b}} {
		f.Protocol = unix.IPPROTO_TCP
		_, err := e.Net.Switch.Drop(f)
		t.ok(err)
	}
	m := newMesh(t, e, 3)
	m.up()
	all := m.pluggedAll()
	all[1].reaches(v4(2))
	all[2].reaches(v4(0))
	p := t.peer(m.nodes[1], m.nodes[2])
	t.Logf("%+v", p)
	if p.Path.Kind != "direct" || p.Control != "up" || !p.WireGuard.PSK {
		t.Errorf("path %q, control %s, psk %v; want direct, up, true", p.Path.Kind, p.Control, p.WireGuard.PSK)
	}
	if r := all[1].ping(v4(2), "-count", "50", "-every", t.pace(10*time.Millisecond)); r.Lost() > 0 {
		t.Errorf("%s", r)
	}
}

// blockedUDP: where WireGuard cannot pass, the nodes say so and where.
func blockedUDP(t *T, e *Env) {
	for _, f := range []lab.Filter{{From: e.Net.Links[0], To: e.Net.Links[1]}, {From: e.Net.Links[1], To: e.Net.Links[0]}} {
		f.Protocol = unix.IPPROTO_UDP
		_, err := e.Net.Switch.Drop(f)
		t.ok(err)
	}
	m := newMesh(t, e, 2)
	m.start()
	t.says(m.nodes[0], 40*time.Second, fmt.Sprintf(
		"%s: control session up, no WireGuard handshake for 15 s: is UDP 6783 open at %s?", m.nodes[1].Name(), e.Sites[1].Addr4))
	if p := t.peer(m.nodes[0], m.nodes[1]); p.State == "up" || p.Control != "up" {
		t.Errorf("state %s, control %s; want not up, up", p.State, p.Control)
	}
}

// badCable: delay, loss and reordering slow things down and kill nothing: no peer is declared dead, TCP completes.
func badCable(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	all[1].start(true, "sink", v4(1).String()+":9000")
	since := t.peer(m.nodes[0], m.nodes[1]).Since
	for _, c := range []struct {
		loss float64
		size int
	}{{0.01, 4 << 20}, {0.05, 1 << 20}, {0.10, 256 << 10}} {
		for _, k := range e.Net.Links {
			t.ok(k.Wire.Set(lab.Out, lab.WireSpec{
				Delay: 20 * time.Millisecond, Jitter: 5 * time.Millisecond, Reorder: 0.02, Duplicate: 0.01, Loss: c.loss,
			}))
		}
		var moved lab.Transfer
		all[0].start(false, "send", v4(1).String()+":9000", strconv.Itoa(c.size)).answer(50*time.Second, &moved)
		t.Logf("%.0f %% loss, 40 ms: %d kB of TCP at %.2f Mbit/s", c.loss*100, moved.Bytes>>10, moved.Mbits())
		r := all[0].ping(v4(1), "-count", "300", "-every", t.pace(10*time.Millisecond))
		// Lost there or back: 1-(1-loss)^2; half as much again is chance.
		if allowed := int(300*2*c.loss*1.5) + 8; r.Lost() > allowed || r.Duplicates > 0 {
			t.Errorf("%.0f %% loss: %s", c.loss*100, r)
		}
		p := t.peer(m.nodes[0], m.nodes[1])
		if p.State != "up" || !p.Since.Equal(since) {
			t.Errorf("%.0f %% loss: %s is %s since %v (%s), was up since %v", c.loss*100, p.Name, p.State, p.Since, p.Reason, since)
		}
	}
	for _, k := range e.Net.Links {
		t.ok(k.Wire.SetBoth(lab.WireSpec{}))
	}
	t.eventually(15*time.Second, func(context.Context) error {
		if r := all[0].ping(v4(1), "-count", "20", "-every", t.pace(10*time.Millisecond)); r.Lost() > 0 {
			return fmt.Errorf("on a good cable again: %s", r)
		}
		return nil
	})
}
