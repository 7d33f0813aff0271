package wgmesh

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// menu collects what may happen next.
type menu struct {
	*pair
	list []choice
	busy bool // a device is not what it should be
}

func (m *menu) may(calm int, name string, does func(*pair) error) {
	m.list = append(m.list, choice{name, calm, does})
}

// spend is for what happens only so often.
func (m *menu) spend(k kind, calm int, name string, does func(*pair)) {
	if m.left[k] > 0 {
		m.may(calm, name, func(p *pair) error { p.left[k]--; does(p); return nil })
	}
}

func (p *pair) choices() []choice {
	m := &menu{pair: p}
	for i, who := range [...]string{"leader", "follower"} {
		m.ofEnd(i, who)
	}
	for _, keys := range p.missing() {
		if p.passes(keys[0], keys[1]) {
			m.may(5, "handshake", func(p *pair) error { p.shake(keys); return nil })
		}
	}
	if p.on == 0 {
		m.may(1, "a session begins", func(p *pair) error { p.connect(); return nil })
	} else {
		m.spend(lose, 0, "the session ends", (*pair).disconnect)
	}
	if at := p.next(); !at.IsZero() && !m.busy {
		m.may(8, "time passes", func(p *pair) error { p.now = at; p.tend(0); p.tend(1); return nil })
	}
	m.ofLeader(p.ends[0])
	return m.list
}

func (m *menu) ofEnd(i int, who string) {
	if len(m.inbox[i]) > 0 {
		m.may(2, who+" gets a message", func(p *pair) error { p.deliver(i); return nil })
	}
	if m.pending(i) {
		m.busy = true
		m.may(3, who+"'s device changes", func(p *pair) error { return p.install(i) })
	}
	if m.news(i) {
		m.may(4, who+" looks at its device", func(p *pair) error { p.observe(i); return nil })
	}
	if t := m.ends[i].using; t != nil && !t.dead && t.live(m.now) && !m.passes(t.mine, t.key) {
		m.may(6, who+" finds its tunnel dead", func(p *pair) error { p.ends[i].using.dead = true; p.tend(i); return nil })
	}
	for n, t := range m.ends[i].tunnels {
		if t.path.Kind == topology.PathRelay && t.ready.IsZero() && t.key != (wgtypes.Key{}) {
			m.may(5, who+"'s part of the path stands", func(p *pair) error {
				p.ends[i].tunnels[n].ready = p.now
				p.tend(i)
				return nil
			})
		}
	}
	m.spend(kill, 0, who+" is killed", func(p *pair) { p.restart(i, true) })
	if slices.ContainsFunc(m.ends[i].tunnels, func(t *tunnel) bool { return t.path.Kind == topology.PathRelay }) {
		m.spend(kill, 0, who+" is killed and forgets paths", func(p *pair) { p.restart(i, false) })
	}
}

// ofLeader adds what Core.steer decides.
func (m *menu) ofLeader(e *end) {
	agreed := m.on != 0 && e.session == m.on
	builds := len(e.builds())
	if t := e.using; t != nil && t.sound(m.now) {
		if t.psk.offer == nil && !t.psk.since.IsZero() && !m.busy { // the last time was long ago
			m.spend(renew, 0, "the key gets old", func(p *pair) { p.ends[0].using.psk.since = p.now.Add(-pskLifetime); p.tend(0) })
		}
		if m.passes(t.mine, t.key) {
			m.spend(fail, 0, "the path fails", func(p *pair) {
				p.dark = append(p.dark, [2]wgtypes.Key{t.mine, t.key})
			})
		}
	}
	if agreed && len(e.tunnels) < topology.MaxSlots {
		calm := 0
		if builds == 0 && (e.using == nil || !e.using.sound(m.now) || e.wants&topology.WantTunnel != 0) {
			calm = 7
		}
		m.spend(build, calm, "leader builds", func(p *pair) { p.begin(topology.Path{Kind: topology.PathDirect}) })
		m.spend(relay, 0, "leader builds by a relay", func(p *pair) { p.begin(p.relayed()) })
	}
	for n, t := range e.tunnels {
		if t == e.using || t.retired {
			continue
		}
		m.spend(cede, 0, "leader gives up", func(p *pair) { p.ends[0].drop(p.ends[0].tunnels[n]); p.tend(0) })
		if agreed {
			m.spend(cede, 0, "leader gives up for a relay", func(p *pair) {
				p.ends[0].drop(p.ends[0].tunnels[n])
				p.begin(p.relayed())
			})
		}
	}
}

// settled says that nothing more is to be done: both ends have one tunnel, the same, which lives and whose key is agreed.
func (p *pair) settled() bool {
	for i, e := range p.ends {
		if len(e.tunnels) != 1 || len(p.inbox[i]) > 0 || p.pending(i) || p.news(i) {
			return false
		}
		t := e.tunnels[0]
		far := farOf(t, p.ends[1-i])
		if e.using != t || t.retired || !t.sound(p.now) || t.psk.offer != nil ||
			far == nil || !onePath(t, far) || t.psk.key != far.psk.key {
			return false
		}
	}
	return p.on != 0 && p.lines[0].steady && p.ends[0].answered == p.ends[0].rev && !p.ends[0].using.psk.since.IsZero()
}

const calmSteps = 200

// calm lets a world go on without any more faults until it is settled, or has come to where another one that settled was.
func (p *pair) calm(good map[uint64]bool) (trace []choice, err error) {
	p.left = budget{build: 100}
	var met []uint64
	for range calmSteps {
		at := p.imprint(false)
		if good[at] || p.settled() {
			for _, m := range append(met, at) {
				good[m] = true
			}
			return trace, nil
		}
		met = append(met, at)
		var next choice
		for _, c := range p.choices() {
			if c.calm > 0 && (next.calm == 0 || c.calm < next.calm) {
				next = c
			}
		}
		if next.calm == 0 {
			return trace, errors.New("nothing more happens, and the ends have not settled")
		}
		trace = append(trace, next)
		if err := p.take(next); err != nil {
			return trace, err
		}
	}
	return trace, fmt.Errorf("the ends have not settled after %d calm steps", calmSteps)
}

// explore tries every order of what may happen, until nothing is left that may, and returns how many worlds it met.
func explore(t *testing.T, start *pair) int {
	t.Helper()
	type origin struct {
		from int
		choice
	}
	type todo struct {
		*pair
		at int
	}
	origins := []origin{{from: -1}}
	queue := []todo{{start.clone(), 0}}
	seen, good := map[uint64]bool{start.imprint(true): true}, map[uint64]bool{}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, c := range next.choices() {
			world := next.clone()
			err := world.take(c)
			mark := world.imprint(true)
			if err == nil && seen[mark] {
				continue
			}
			seen[mark] = true
			origins = append(origins, origin{next.at, c})
			queue = append(queue, todo{world, len(origins) - 1})
			var more []choice
			if err == nil {
				more, err = world.clone().calm(good)
			}
			if err != nil {
				for at := len(origins) - 1; at > 0; at = origins[at].from {
					more = append([]choice{origins[at].choice}, more...)
				}
				t.Fatalf("%v, after%s", err, start.story(more))
			}
		}
	}
	return len(seen)
}

// story tells what a world comes to by some choices.
func (p *pair) story(choices []choice) (text string) {
	p.left = budget{100, 100, 100, 100, 100, 100, 100}
	for _, c := range choices {
		if err := p.take(c); err != nil {
			text += fmt.Sprintf("\n! %v", err)
		}
		text += fmt.Sprintf("\n%s\n\tleader  %s\n\tfollower%s", c.name, sketch(p.ends[0], p.now), sketch(p.ends[1], p.now))
	}
	return text
}

// TestEveryOrderOfTheTunnelStep tries all orders of messages, handshakes, looks at devices and faults between two ends, as
// many faults as the budgets say. In all of them: what is sent over a link whose tunnel works arrives, a tunnel in use is
// let go only for one that lives, the ends mean the same by a tunnel and have the same key for it, and when the faults end
// both soon use one tunnel and have no other.
func TestEveryOrderOfTheTunnelStep(t *testing.T) {
	for name, c := range map[string]struct {
		fresh      bool // from the first contact on; else from one tunnel that carries
		left, soak budget
	}{
		"first contact":     {fresh: true, left: budget{build: 1, relay: 1}, soak: budget{build: 1, relay: 1, lose: 1}},
		"another path":      {left: budget{build: 1, lose: 2}, soak: budget{build: 1, lose: 4}},
		"two paths":         {left: budget{build: 1, relay: 1}, soak: budget{build: 1, relay: 1, lose: 1}},
		"given up":          {left: budget{build: 1, cede: 1}, soak: budget{build: 1, relay: 1, cede: 1}},
		"a relay fails":     {left: budget{relay: 1, cede: 1}, soak: budget{relay: 1, cede: 2}},
		"an old key":        {left: budget{build: 1, renew: 1}, soak: budget{build: 1, renew: 2, lose: 2}},
		"a path fails":      {left: budget{build: 1, fail: 1, lose: 1}, soak: budget{build: 2, fail: 2}},
		"kills":             {left: budget{build: 1, kill: 2}, soak: budget{build: 1, relay: 1, kill: 1}},
		"kills, a relay":    {left: budget{relay: 1, kill: 1}, soak: budget{relay: 1, kill: 1, lose: 1, cede: 1}},
		"kills, an old key": {left: budget{kill: 1, renew: 1, lose: 1}, soak: budget{build: 1, kill: 1, renew: 1, lose: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair()
			p.connect()
			if !c.fresh {
				if _, err := p.calm(map[uint64]bool{}); err != nil {
					t.Fatal(err)
				}
			}
			p.left = c.left
			if os.Getenv("WEAVEWG_SOAK") != "" {
				p.left = c.soak
			}
			t.Logf("%d worlds", explore(t, p))
		})
	}
}
