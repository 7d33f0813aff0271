package wgmesh

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// event is something that may happen in a mesh, with how often it should in comparison.
type event struct {
	name   string
	weight int
	does   func(*mesh) error
}

func (m *mesh) events() (list []event) {
	may := func(weight int, does func(*mesh) error, name string, args ...any) {
		list = append(list, event{fmt.Sprintf(name, args...), weight, does})
	}
	for i, c := range m.nodes {
		if len(Diff(m.specs[i], m.devices[i])) > 0 {
			may(30, func(m *mesh) error { return m.converge(i, m.specs[i]) }, "device of node %d changes", i)
		}
		may(10, func(m *mesh) error { m.observe(i); return nil }, "node %d looks at its device", i)
		may(1, func(m *mesh) error { m.kill(i); return nil }, "node %d is killed", i)
		if c.rotation.begun.IsZero() && c.hasRoom() {
			may(2, func(m *mesh) error { m.step(i, (*Core).rotate); return nil }, "node %d rotates its keys", i)
		}
	}
	for n, k := range m.controls {
		m.ofLine(may, n, &k)
	}
	for _, keys := range m.missing() {
		if m.passes(keys[0], keys[1]) {
			may(20, func(m *mesh) error { m.shake(keys); return nil }, "handshake")
		}
	}
	for _, d := range []time.Duration{10 * time.Millisecond, 60 * time.Millisecond, 300 * time.Millisecond, 2 * time.Second} {
		may(8, func(m *mesh) error { return m.pass(d) }, "%v pass", d)
	}
	return list
}

// hasRoom says whether a slot has no tunnel. Where none is free links can go round from one slot that is to get a new key
// to the next: a rotation begins when they have come to rest.
func (c *Core) hasRoom() bool {
	for s := range Slot(topology.MaxSlots) {
		if !slices.ContainsFunc(c.byPeer(), func(l *link) bool { return slices.Contains(l.slots(), s) }) {
			return true
		}
	}
	return false
}

func (m *mesh) ofLine(may func(int, func(*mesh) error, string, ...any), n int, k *control) {
	if k.on == 0 {
		may(20, func(m *mesh) error { m.connect(n); return nil }, "line %d gets a session", n)
	} else {
		may(2, func(m *mesh) error { m.disconnect(n, -1); return nil }, "line %d loses its session", n)
	}
	for side := range 2 {
		if len(k.inbox[side]) > 0 {
			may(40, func(m *mesh) error { m.deliver(n, side); return nil }, "line %d: side %d gets a message", n, side)
		}
		may(10, func(m *mesh) error { m.stands(n, side); return nil }, "line %d: side %d's part of a path stands", n, side)
	}
	for kind, blocked := range k.blocked {
		kind := topology.PathKind(kind)
		if blocked {
			may(4, func(m *mesh) error { m.controls[n].blocked[kind] = false; return nil }, "line %d: paths of kind %d work", n, kind)
		} else if kind > 0 {
			may(1, func(m *mesh) error { m.controls[n].blocked[kind] = true; return nil }, "line %d: paths of kind %d fail", n, kind)
		}
	}
	if l := m.end(n, 0); l.using != nil && !l.using.psk.since.IsZero() {
		may(1, func(m *mesh) error {
			m.end(n, 0).using.psk.since = m.now.Add(-pskLifetime)
			m.end(n, 0).dirty = true
			return nil
		}, "line %d: the key gets old", n)
	}
}

// take lets an event happen and tells which promise it breaks.
func (m *mesh) take(name string, does func(*mesh) error) error {
	type before struct {
		end    *link
		using  *tunnel
		steady bool
	}
	var was []before
	for n, l := range m.lines {
		for side := range 2 {
			was = append(was, before{m.end(n, side), m.end(n, side).using, l.steady})
		}
	}
	err := does(m)
	m.tell(name)
	if err != nil {
		return err
	}
	for i, b := range was {
		if e := m.end(i/2, i%2); e == b.end {
			if err := checkEnd(&e.end, &m.end(i/2, 1-i%2).end, b.using, b.steady && m.lines[i/2].steady, m.alive); err != nil {
				return fmt.Errorf("line %d: side %d %w", i/2, i%2, err)
			}
		}
	}
	return m.traffic(m.passes, func(n int, own, key wgtypes.Key) bool {
		return agreed(m.now, &m.end(n, 0).end, &m.end(n, 1).end, own, key)
	})
}

// tell adds to the story, if somebody listens.
func (m *mesh) tell(name string) {
	if m.story == nil {
		return
	}
	fmt.Fprintf(m.story, "\n%s %s", m.now.Format("04:05.000"), name)
	for n, l := range m.lines {
		fmt.Fprintf(m.story, "\n\tline %d%v steady %v", n, l.ends, l.steady)
		for side, who := range [...]string{"leader", "follower"} {
			fmt.Fprintf(m.story, "\n\t\t%-8s%s", who, sketch(&m.end(n, side).end, m.now))
		}
	}
}

// walk takes random events.
func (m *mesh) walk(steps int) error {
	for range steps {
		list := m.events()
		sum := 0
		for _, e := range list {
			sum += e.weight
		}
		at := m.rng.IntN(sum)
		for _, e := range list {
			if at -= e.weight; at < 0 {
				if err := m.take(e.name, e.does); err != nil {
					return err
				}
				break
			}
		}
	}
	return nil
}

const calmTime = 2 * time.Minute

// calm ends the faults, but that some direct paths stay blocked, and waits until every link has come to rest.
func (m *mesh) calm() error {
	for n := range m.controls {
		k := &m.controls[n]
		k.blocked[topology.PathRelay] = false
		k.blocked[topology.PathDirect] = k.blocked[topology.PathDirect] && m.rng.IntN(2) == 0
	}
	for end := m.now.Add(calmTime); m.now.Before(end); {
		if m.rested() {
			return nil
		}
		if err := m.take("calm", (*mesh).settle); err != nil {
			return err
		}
	}
	return fmt.Errorf("the links have not come to rest after %v: %s", calmTime, m.unrest())
}

// settle lets everything happen that is due, and time pass until more is.
func (m *mesh) settle() error {
	for n := range m.controls {
		k := &m.controls[n]
		if k.on == 0 {
			m.connect(n)
		}
		for side := range 2 {
			for len(k.inbox[side]) > 0 {
				m.deliver(n, side)
			}
			m.stands(n, side)
		}
	}
	for _, keys := range m.missing() {
		if m.passes(keys[0], keys[1]) {
			m.shake(keys)
		}
	}
	next := time.Second
	for i, c := range m.nodes {
		if err := m.converge(i, m.specs[i]); err != nil {
			return err
		}
		m.observe(i)
		if !c.wake.IsZero() {
			next = min(next, c.wake.Sub(m.now))
		}
	}
	return m.pass(max(next, 5*time.Millisecond))
}

func (m *mesh) rested() bool { return m.unrest() == "" }

// unrest says what is still to be done.
func (m *mesh) unrest() string {
	for i, c := range m.nodes {
		if !c.rotation.begun.IsZero() || c.retires() {
			return fmt.Sprintf("node %d still renews its keys", i)
		}
	}
	for n, l := range m.lines {
		a, b := &m.end(n, 0).end, &m.end(n, 1).end
		if !l.steady || a.using == nil || !a.using.sound(m.now) || farOf(a.using, b) != b.using ||
			a.using.psk.key != b.using.psk.key {
			return fmt.Sprintf("line %d has no common tunnel", n)
		}
		if !onePath(a.using, b.using) {
			return fmt.Sprintf("line %d has a tunnel of which the ends mean two paths", n)
		}
		if a.using.psk.offer != nil || a.using.psk.since.IsZero() {
			return fmt.Sprintf("line %d has not agreed on a key", n)
		}
		for _, e := range []*end{a, b} {
			if slices.ContainsFunc(e.tunnels, func(t *tunnel) bool { return t.retired }) {
				return fmt.Sprintf("line %d still has a tunnel that nobody uses", n)
			}
		}
	}
	return ""
}

const walkSteps = 150

// live walks and comes to rest.
func (m *mesh) live() error {
	if err := m.walk(walkSteps); err != nil {
		return err
	}
	return m.calm()
}

// TestManyLinksStepAtOnce walks at random through what may happen to a mesh of three nodes, whose links share the slots
// of each: messages late and lost, paths that fail and come back, rotations, daemons that are killed.
func TestManyLinksStepAtOnce(t *testing.T) {
	walks := uint64(100)
	if os.Getenv("WEAVEWG_SOAK") != "" {
		walks = 20000
	}
	for seed := range walks {
		m := newMesh(seed, 3)
		if m.live() == nil {
			continue
		}
		m = newMesh(seed, 3) // the same again, with its story
		m.story = &strings.Builder{}
		t.Fatalf("seed %d: %v, after%s", seed, m.live(), m.story)
	}
}
