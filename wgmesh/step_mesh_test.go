package wgmesh

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// mesh is some nodes with a link between any two, and a member that relays for all of them. Their cores decide as they do
// in a daemon about links, slots and rotations; control sessions, devices and paths are those of a model, in which things
// happen in any order.
type mesh struct {
	fabric
	rng      *rand.Rand
	graph    *topology.Graph
	keys     [][32]byte // identities, so that who has the lower index has the lower id
	nodes    []*Core
	specs    []DeviceSpec
	controls []control // one a line
	paths    map[[2]wgtypes.Key]pathOf
	sessions SessionID
	story    *strings.Builder // nil: nobody listens
}

// control is what a line has besides its tunnels.
type control struct {
	on      SessionID // 0: no session
	inbox   [2][]topology.LinkState
	blocked [topology.PathRelay + 1]bool // by kind: such paths do not work now
}

// pathOf is on what the packets between two slots depend.
type pathOf struct {
	line int
	kind topology.PathKind
}

var meshNetwork = topology.NetworkRef{Name: "default", VNI: 7}

// newMesh makes nodes that know each other and nothing else.
func newMesh(seed uint64, nodes int) *mesh {
	m := &mesh{
		fabric: fabric{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), devices: make([]DeviceStatus, nodes)},
		rng:    rand.New(rand.NewPCG(seed, 7)), graph: topology.NewGraph(topology.MaxNodes),
		nodes: make([]*Core, nodes), specs: make([]DeviceSpec, nodes), paths: map[[2]wgtypes.Key]pathOf{},
	}
	for i := range nodes {
		m.keys = append(m.keys, sha256.Sum256([]byte{byte(i)}))
	}
	slices.SortFunc(m.keys, func(a, b [32]byte) int { return topology.IDOf(a[:]).Compare(topology.IDOf(b[:])) })
	hub := topology.Record{
		Key: sha256.Sum256([]byte("relay")), Name: "relay", Port: 6783, MTU: 1440, Features: topology.FeatureRelay,
	}
	for i, key := range m.keys {
		hub.Edges = append(hub.Edges, topology.Edge{Peer: topology.IDOf(key[:])})
		m.know(topology.Record{
			Key: key, Name: fmt.Sprintf("node%d", i), Port: 6783, MTU: 1440, Networks: []topology.NetworkRef{meshNetwork},
			Edges: []topology.Edge{{Peer: hub.ID()}},
		})
	}
	m.know(hub)
	for i := range nodes {
		m.start(i, State{})
		for j := range i {
			m.lines = append(m.lines, line{ends: [2]int{j, i}, addrs: [2]netip.Addr{m.address(j), m.address(i)}})
			m.controls = append(m.controls, control{})
		}
	}
	return m
}

func (m *mesh) know(r topology.Record) {
	sealed, err := plainNotary{}.Seal(&r)
	if err != nil {
		panic(err)
	}
	m.graph.Merge(sealed, &r)
}

func (m *mesh) id(i int) topology.NodeID { return topology.IDOf(m.keys[i][:]) }

func (m *mesh) address(i int) netip.Addr { return topology.OverlayAddress("test", m.id(i)) }

// start starts a daemon on what its host has.
func (m *mesh) start(i int, st State) {
	newKey := func() (k wgtypes.Key) {
		for j := range k {
			k[j] = byte(m.rng.Uint32())
		}
		return k
	}
	c := NewCore(Settings{
		Mesh: "test", Name: fmt.Sprintf("node%d", i), Key: m.keys[i], Port: 6783, Networks: []NetworkSettings{{NetworkRef: meshNetwork}},
	}, plainNotary{}, st, rand.New(rand.NewPCG(m.rng.Uint64(), 1)), newKey, m.now)
	c.graph = m.graph
	c.relateLinks()
	m.nodes[i] = c
	m.step(i, func(c *Core) { c.observe(Observed{Status: cloneStatus(m.devices[i])}) })
}

// step lets something happen to a node, and what follows from it, as Core.Step does as far as links are concerned.
func (m *mesh) step(i int, happens func(*Core)) {
	c := m.nodes[i]
	c.now, c.wake = m.now, time.Time{}
	happens(c)
	c.tendLinks()
	c.tendRotation()
	m.specs[i] = c.desired()
	for _, effect := range c.effects {
		if send, ok := effect.(Send); ok && send.Message.Link != nil {
			for n := range m.controls {
				if k := &m.controls[n]; k.on == send.ID {
					to := 0
					if m.lines[n].ends[0] == i {
						to = 1
					}
					k.inbox[to] = append(k.inbox[to], *send.Message.Link)
				}
			}
		}
	}
	c.effects = nil
	for n, l := range m.lines {
		if side := slices.Index(l.ends[:], i); side >= 0 {
			m.learn(n, side)
		}
	}
}

// end is one end of a line.
func (m *mesh) end(line, side int) *link {
	return m.nodes[m.lines[line].ends[side]].links[m.id(m.lines[line].ends[1-side])]
}

func (m *mesh) connect(line int) {
	m.sessions++
	m.controls[line].on = m.sessions
	id, export := m.sessions, sha256.Sum256(fmt.Append(nil, m.sessions))
	for side, i := range m.lines[line].ends {
		m.step(i, func(c *Core) {
			s := &session{
				id: id, peer: m.id(m.lines[line].ends[1-side]), routed: true, export: export,
				up: m.now, heard: m.now, used: m.now, rtt: modelRTT,
			}
			c.sessions[id], c.byNode[s.peer] = s, s
			c.arrivals = append(c.arrivals, s)
			c.links[s.peer].dirty = true
		})
	}
}

// disconnect ends a session with all that is under way in it, for all of its ends but one that is dead (or -1).
func (m *mesh) disconnect(line, dead int) {
	k := &m.controls[line]
	id := k.on
	k.on, k.inbox = 0, [2][]topology.LinkState{}
	for _, i := range m.lines[line].ends {
		if i != dead {
			m.step(i, func(c *Core) { c.sessionDown(SessionDown{ID: id}) })
		}
	}
}

func (m *mesh) deliver(line, side int) {
	k := &m.controls[line]
	msg := k.inbox[side][0]
	k.inbox[side] = k.inbox[side][1:]
	m.step(m.lines[line].ends[side], func(c *Core) { c.takeLink(c.sessions[k.on], &msg) })
}

func (m *mesh) observe(i int) {
	m.step(i, func(c *Core) { c.observe(Observed{Status: cloneStatus(m.devices[i])}) })
}

// kill ends a daemon and starts it anew, with the paths of its tunnels if they were written down in time.
func (m *mesh) kill(i int) {
	m.nodes[i].rememberPaths()
	st := m.nodes[i].state
	if m.rng.IntN(2) == 0 {
		st.Paths = nil
	}
	for n, l := range m.lines {
		if slices.Contains(l.ends[:], i) {
			if !slices.Equal(m.specs[i].Routes, m.devices[i].Routes) {
				m.lines[n].steady = false // it dies between telling where it moves and moving
			}
			if m.controls[n].on != 0 {
				m.disconnect(n, i)
			}
		}
	}
	m.start(i, st)
}

// passes knows the paths of tunnels even where the ends have forgotten them.
func (m *mesh) passes(own, key wgtypes.Key) bool {
	p := m.paths[pairOf(own, key)]
	return !m.controls[p.line].blocked[p.kind]
}

// learn takes note of the paths that tunnels have.
func (m *mesh) learn(line, side int) {
	for _, t := range m.end(line, side).tunnels {
		if !unheard(t) {
			m.paths[pairOf(t.mine, t.key)] = pathOf{line, t.path.Kind}
		}
	}
}

func pairOf(a, b wgtypes.Key) [2]wgtypes.Key {
	if slices.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return [2]wgtypes.Key{a, b}
}

// stands lets the ends' parts of relayed paths stand, those that may.
func (m *mesh) stands(line, side int) {
	for _, t := range m.end(line, side).tunnels {
		blocked := m.controls[line].blocked[topology.PathRelay]
		if t.path.Kind == topology.PathRelay && t.ready.IsZero() && t.key != (wgtypes.Key{}) && !blocked {
			m.step(m.lines[line].ends[side], func(c *Core) {
				t.ready = c.now
				c.links[m.id(m.lines[line].ends[1-side])].dirty = true
			})
		}
	}
}

// pass lets time pass, with all that happens in it by itself: devices are what they should be, WireGuard renews its
// sessions, probes are answered.
func (m *mesh) pass(d time.Duration) error {
	for i := range m.nodes {
		if err := m.converge(i, m.specs[i]); err != nil {
			return err
		}
	}
	m.now = m.now.Add(d)
	for n := range m.lines {
		for side := range 2 {
			t, peer := m.end(n, side).using, m.id(m.lines[n].ends[1-side])
			if t == nil || !m.passes(t.mine, t.key) || !m.alive(t.mine, t.key) {
				continue
			}
			if p := m.entry(t.mine, t.key); m.now.Sub(p.LastHandshake) > 120*time.Second && p.PSK == m.entry(t.key, t.mine).PSK {
				m.shake([2]wgtypes.Key{t.mine, t.key})
			}
			m.step(m.lines[n].ends[side], func(c *Core) { c.probed(Probed{Peer: peer, RTT: modelRTT}) })
		}
	}
	for i := range m.nodes {
		m.step(i, func(*Core) {})
	}
	return nil
}
