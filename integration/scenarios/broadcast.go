package scenarios

import (
	"net/netip"
	"time"
)

// broadcast: what one says to all, or to a group, the others hear, once.
func broadcast(t *T, e *Env) {
	m := newMesh(t, e, 3)
	m.up()
	all := m.pluggedAll()
	for i, c := range all[1:] {
		c.reaches(v4(0))
		all[0].reaches(v6(i + 1)) // IPv6 finds neighbours by multicast
	}
	for _, c := range []struct{ to, group string }{
		{"10.32.0.255:7777", ""}, {"255.255.255.255:7777", ""},
		{"239.32.0.1:7777", "239.32.0.1"}, {"[ff15::3232]:7777", "ff15::3232"},
	} {
		var ears []*task
		var counts []*task
		for _, other := range all[1:] {
			args := []string{"hear", "ethwe", "7777", "to " + c.to}
			if c.group != "" {
				args = append(args, c.group)
			}
			ears = append(ears, other.start(true, args...))
			counts = append(counts, other.start(true, "count", "ethwe", "to "+c.to))
		}
		all[0].start(false, "shout", "ethwe", c.to, "to "+c.to).answer(5*time.Second, new(bool))
		for i, ear := range ears {
			var from netip.AddrPort
			ear.answer(10*time.Second, &from)
			var copies int
			counts[i].stop(&copies)
			t.Logf("%s: node %d heard %s, %d copies", c.to, i+1, from, copies)
			if copies != 1 {
				t.Errorf("%s: %d copies", c.to, copies)
			}
		}
	}
}
