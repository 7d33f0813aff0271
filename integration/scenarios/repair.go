package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// repair: what somebody takes from the data plane by hand comes back by itself, and soon.
func repair(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	a := m.nodes[0]
	overlay := m.overlay(a)
	names := make(map[string]string) // by the first letters
	for name := range overlay.devices() {
		prefix, _, _ := strings.Cut(name, "-")
		names[prefix] = name
	}
	var keys struct{ Slots []struct{ Interface string } }
	t.ok(a.JSON(t.Context(), &keys, "keys", "show"))
	wg := keys.Slots[0].Interface
	peer := t.peer(a, m.nodes[1])
	for _, c := range []struct {
		what  string
		limit time.Duration
		argv  []string
	}{
		{"the route to a peer is deleted", 5 * time.Second, []string{"ip", "-6", "route", "del", peer.Overlay.String()}},
		{"the tunnel is deleted", 10 * time.Second, // nothing tells of it: it is looked for every few seconds
			[]string{"wg", "set", wg, "peer", peer.WireGuard.PublicKey, "remove"}},
		{"the WireGuard device is set down", 5 * time.Second, []string{"ip", "link", "set", wg, "down"}},
		{"the bridge's overlay port is deleted", 5 * time.Second, []string{"ip", "link", "del", names["po"]}},
		{"the bridge is deleted", 5 * time.Second, []string{"ip", "link", "del", names["br"]}},
		{"the container's port is deleted", 10 * time.Second, []string{"ip", "link", "del", names["vp"]}},
	} {
		start := time.Now()
		overlay.run(c.argv...)
		var took time.Duration
		t.eventually(20*time.Second, func(ctx context.Context) error {
			argv := all[0].argv([]string{"ping", v4(1).String(), "-stop", "1", "-every", "20ms", "-count", "10", "-timeout", "50ms"})
			out, err := lab.Must(ctx, a.Machine, argv...)
			if err != nil {
				return err
			}
			var r lab.PingReport
			if err := json.Unmarshal([]byte(out), &r); err != nil {
				return lab.Final(err)
			}
			if r.Lost() == r.Sent() {
				return fmt.Errorf("%s: no way to the other container", c.what)
			}
			took = time.Since(start)
			return nil
		})
		t.atMost(c.what, took, c.limit)
		all[0].reaches(v4(1))
	}
}
