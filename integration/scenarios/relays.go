package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/integration/lab"
	"github.com/weavewg/weavewg/services/api"
)

// gapLimit is how long frames may stand still when a path dies.
const gapLimit = 3 * time.Second

// blockUDP keeps UDP from passing between two sites, until undo is called.
func (t *T) blockUDP(e *Env, i, j int) (undo func()) {
	t.Helper()
	var undos []func() error
	for _, f := range []lab.Filter{{From: e.Net.Links[i], To: e.Net.Links[j]}, {From: e.Net.Links[j], To: e.Net.Links[i]}} {
		f.Protocol = unix.IPPROTO_UDP
		one, err := e.Net.Switch.Drop(f)
		t.ok(err)
		undos = append(undos, one)
	}
	return func() {
		for _, one := range undos {
			t.ok(one())
		}
	}
}

// onPath waits until a node reaches another by a kind of path, and returns how long that took.
func (t *T) onPath(n, other *lab.Node, d time.Duration, kind string) (api.Path, time.Duration) {
	t.Helper()
	start := time.Now()
	var p api.Peer
	t.eventually(d, func(context.Context) error {
		if p = t.peer(n, other); p.Path.Kind != kind {
			return fmt.Errorf("%s reaches %s by %q (%s: %s), want %s", n.Name(), other.Name(), p.Path.Kind, p.State, p.Reason, kind)
		}
		return nil
	})
	return p.Path, time.Since(start)
}

func viaNames(p api.Path) []string {
	var names []string
	for _, v := range p.Via {
		names = append(names, v.Name)
	}
	return names
}

// relayChain: of four nodes in a row only neighbours reach each other. The ends talk by the two between, which see
// ciphertext, and pass every packet on as it is.
func relayChain(t *T, e *Env) {
	const canary = "canary-of-the-relay-chain-in-plain-text"
	links := e.Net.Links
	for i := range links {
		for j := i + 2; j < len(links); j++ {
			_, err := e.Net.Switch.Block(links[i], links[j])
			t.ok(err)
		}
	}
	m := newMesh(t, e, 4, func(i int, s *lab.NodeSpec) {
		if i > 0 {
			s.Peers = []string{e.Sites[i-1].Addr4.String()}
		}
	})
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(3))
	all[3].reaches(v6(0))
	far := t.peer(m.nodes[0], m.nodes[3])
	want := []string{m.nodes[1].Name(), m.nodes[2].Name()}
	if far.Path.Kind != "relay" || !slices.Equal(viaNames(far.Path), want) || far.Path.Reason == "" {
		t.Errorf("path %+v, want relay via %v, with a reason", far.Path, want)
	}
	if near := t.peer(m.nodes[0], m.nodes[1]); far.Path.MTU != near.Path.MTU {
		t.Errorf("MTU %d by relays, %d directly", far.Path.MTU, near.Path.MTU)
	}
	if keys := publicKeys(t, m.nodes[3]); !slices.Contains(keys, far.WireGuard.PublicKey) {
		t.Errorf("the tunnel is for the key %s, the far end has %v", far.WireGuard.PublicKey, keys)
	}

	first, second := watchRelay(t, links[1], canary), watchRelay(t, links[2], canary)
	sink := all[3].start(true, "sink", v4(3).String()+":9000")
	var moved lab.Transfer
	all[0].start(false, "send", v4(3).String()+":9000", fmt.Sprint(4<<20), canary).answer(30*time.Second, &moved)
	sink.stop(new(any))
	t.Logf("4 MiB over two relays at %.0f Mbit/s", moved.Mbits())
	for _, w := range []*relayWatch{first, second} {
		w.stop()
		if w.canary > 0 {
			t.Errorf("%s: %d frames hold the plain text", w.link.Host.Name(), w.canary)
		}
	}
	changed := 0
	for p := range second.data {
		if !first.data[p] {
			changed++
		}
	}
	t.Logf("%d packets came to the first relay, %d to the second, %d of these were others", len(first.data), len(second.data), changed)
	// What was on its way through when the watch began had passed the first relay already, and probes go the other way too.
	if len(first.data) < 1000 || len(second.data) < 1000 || changed > 20 {
		t.Errorf("%d, %d, %d: want thousands at both, the same", len(first.data), len(second.data), changed)
	}
}

// publicKeys are those of a node's slots.
func publicKeys(t *T, n *lab.Node) (keys []string) {
	t.Helper()
	var k api.Keys
	t.ok(n.JSON(t.Context(), &k, "keys", "show"))
	for _, s := range k.Slots {
		keys = append(keys, s.PublicKey)
	}
	return keys
}

// relayWatch looks at the cable of a relay.
type relayWatch struct {
	link   *lab.Link
	cancel context.CancelFunc
	done   sync.WaitGroup
	data   map[string]bool // payloads of large WireGuard packets that came in
	canary int
}

func watchRelay(t *T, k *lab.Link, canary string) *relayWatch {
	t.Helper()
	tap, err := lab.OpenTap(k.Host, k.Interface, lab.WithSegments())
	t.ok(err)
	ctx, cancel := context.WithCancel(t.Context())
	w := &relayWatch{link: k, cancel: cancel, data: map[string]bool{}}
	w.done.Go(func() {
		defer tap.Close()
		_ = tap.ReceiveUntil(ctx, func(f lab.Frame) bool { // ends with ctx
			if bytes.Contains(f.Data, []byte(canary)) {
				w.canary++
			}
			for p := range f.Packets() {
				if p.Kind() == lab.WireGuardData && len(p.Payload) > 1000 {
					w.data[string(p.Payload)] = true
				}
			}
			return false
		})
	})
	return w
}

func (w *relayWatch) stop() {
	w.cancel()
	w.done.Wait()
}

// relaySwitch: two nodes that cannot reach each other by UDP talk by a third, and change to the direct path soon after it
// opens, under load, without losing or doubling a packet.
func relaySwitch(t *T, e *Env) {
	open := t.blockUDP(e, 0, 1)
	m := newMesh(t, e, 3, withYAML("log: {level: debug}\n"))
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	a, b := m.nodes[0], m.nodes[1]
	t.onPath(a, b, time.Second, "relay")
	for i, k := range e.Net.Links { // 5 ms directly, 20 ms by the relay
		delay := 2500 * time.Microsecond
		if i == 2 {
			delay = 7500 * time.Microsecond
		}
		t.ok(k.Wire.SetBoth(lab.WireSpec{Delay: delay}))
	}
	ping := all[0].start(false, "ping", v4(1).String(), "-every", t.pace(500*time.Microsecond))
	all[0].ping(v4(1), "-count", "20", "-every", "50ms")
	t.onPath(a, b, time.Second, "relay")
	opened := time.Now()
	open()
	path, took := t.onPath(a, b, 15*time.Second, "direct")
	t.atMost("from the opening of the direct way to its use", took, gapLimit)
	t.Logf("then at %s", path.Endpoint)
	all[0].ping(v4(1), "-count", "40", "-every", "50ms")
	var r lab.PingReport
	ping.stop(&r)
	t.Logf("2,000 a second, relay to direct: %s", r)
	if r.Lost() > 0 || r.Duplicates > 0 {
		t.Errorf("%d lost, %d doubled", r.Lost(), r.Duplicates)
	}

	// And back: the direct way closes without a word.
	ping = all[0].start(false, "ping", v4(1).String(), "-every", t.pace(2*time.Millisecond))
	all[0].ping(v4(1), "-count", "20", "-every", "50ms")
	t.blockUDP(e, 0, 1)
	closed := time.Now()
	t.onPath(a, b, 15*time.Second, "relay")
	all[0].reaches(v4(1))
	ping.stop(&r)
	t.Logf("back: %s, %v after it closed", r, time.Since(closed).Round(time.Millisecond))
	t.atMost("gap when the direct way closes", r.LongestGapAfter(opened), gapLimit)
}

// relayDies: the relay in use vanishes, and another one takes over.
func relayDies(t *T, e *Env) {
	t.blockUDP(e, 0, 1)
	m := newMesh(t, e, 4, withYAML("log: {level: debug}\n"))
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	path, _ := t.onPath(m.nodes[0], m.nodes[1], time.Second, "relay")
	used := slices.IndexFunc(m.nodes, func(n *lab.Node) bool { return len(path.Via) == 1 && n.Name() == path.Via[0].Name })
	if used < 2 {
		t.Fatalf("path %+v, want one relay", path)
	}
	ping := all[0].start(false, "ping", v4(1).String(), "-every", t.pace(5*time.Millisecond))
	all[0].ping(v4(1), "-count", "50", "-every", "20ms")
	died := time.Now()
	t.ok(e.Net.Links[used].SetUp(false))
	all[0].reaches(v4(1))
	all[0].ping(v4(1), "-count", "50", "-every", "20ms")
	var r lab.PingReport
	ping.stop(&r)
	t.Logf("the relay %s dies: %s", path.Via[0].Name, r)
	t.atMost("gap when the relay dies", r.LongestGapAfter(died.Add(-time.Second)), gapLimit)
	if now, _ := t.onPath(m.nodes[0], m.nodes[1], time.Second, "relay"); now.Via[0].Name == path.Via[0].Name {
		t.Errorf("still by %s", now.Via[0].Name)
	}
}

// oneWayLoss: from one moment on nothing passes in one direction of the direct path; a relay takes over.
func oneWayLoss(t *T, e *Env) {
	m := newMesh(t, e, 3)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	t.onPath(m.nodes[0], m.nodes[1], 5*time.Second, "direct")
	ping := all[0].start(false, "ping", v4(1).String(), "-every", t.pace(5*time.Millisecond))
	all[0].ping(v4(1), "-count", "100", "-every", "20ms")
	began := time.Now()
	_, err := e.Net.Switch.Drop(lab.Filter{From: e.Net.Links[1], To: e.Net.Links[0], Protocol: unix.IPPROTO_UDP})
	t.ok(err)
	all[0].reaches(v4(1))
	all[0].ping(v4(1), "-count", "50", "-every", "20ms")
	var r lab.PingReport
	ping.stop(&r)
	t.Logf("loss in one direction begins: %s", r)
	t.atMost("gap when one direction breaks", r.LongestGapAfter(began.Add(-time.Second)), gapLimit)
	t.onPath(m.nodes[0], m.nodes[1], time.Second, "relay")
}

// pureRelay: a node without networks forwards for two that cannot reach each other, and one with relay: false does not.
func pureRelay(t *T, e *Env) {
	t.blockUDP(e, 1, 2)
	m := newMesh(t, e, 4, func(i int, s *lab.NodeSpec) {
		switch i {
		case 0:
			s.More += "networks: []\n"
		default:
			s.More += "relay: false\n"
		}
	})
	m.start()
	for _, pair := range [][2]int{{1, 2}, {2, 1}, {1, 3}, {3, 2}} {
		t.ok(m.nodes[pair[0]].WaitFor(t.within(20*time.Second), "peer="+m.nodes[pair[1]].Name()))
	}
	var ends []*container
	for i := 1; i < 4; i++ {
		ends = append(ends, m.plugged(m.nodes[i], v4(i).String()+"/24"))
	}
	ends[0].reaches(v4(2))
	path, _ := t.onPath(m.nodes[1], m.nodes[2], time.Second, "relay")
	if names := viaNames(path); !slices.Equal(names, []string{m.nodes[0].Name()}) {
		t.Errorf("by %v, want %s", names, m.nodes[0].Name())
	}
	s := t.status(m.nodes[0])
	if len(s.Networks) > 0 {
		t.Errorf("the pure relay is a member of %+v", s.Networks)
	}
}
