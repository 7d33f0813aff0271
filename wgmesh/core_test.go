package wgmesh

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// plainNotary seals with a hash: enough where nobody lies.
type plainNotary struct{}

func (n plainNotary) Seal(r *topology.Record) (topology.Sealed, error) {
	body, err := topology.EncodeRecord(r)
	sum := sha256.Sum256(body)
	return topology.Sealed{Body: body, Sig: append(sum[:], sum[:]...), Proof: sum[:]}, err
}

func (n plainNotary) Open(s topology.Sealed) (*topology.Record, error) {
	sum := sha256.Sum256(s.Body)
	if !bytes.Equal(sum[:], s.Proof) {
		return nil, errors.New("wrong hash")
	}
	return topology.DecodeRecord(s.Body)
}

// host is a core with its device and its ends of sessions.
type host struct {
	*Core
	name   string
	addr   netip.Addr
	device DeviceStatus
	spec   Converge
	snap   Snapshot
	state  State
	notes  []string
	peers  map[SessionID]end
}

type end struct {
	other *host
	id    SessionID
}

// pair is a world of hosts on one switch, in which everything takes no time.
type world struct {
	t     *testing.T
	now   time.Time
	hosts []*host
	last  SessionID
	todo  []func()
	cut   bool
}

func newWorld(t *testing.T, names ...string) *world {
	w := &world{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	for i, name := range names {
		w.add(i, name, State{}, DeviceStatus{})
	}
	return w
}

func (w *world) settings(i int, name string) Settings {
	s := Settings{Mesh: "test", Name: name, Key: sha256.Sum256([]byte(name)), Run: [8]byte{byte(i), byte(len(w.hosts))}, Port: 6783,
		Networks: []NetworkSettings{{NetworkRef: topology.NetworkRef{Name: "default", VNI: 7}}}}
	if i > 0 {
		s.Targets = []string{"192.0.2.1:6783"}
	}
	return s
}

func (w *world) add(i int, name string, st State, dev DeviceStatus) *host {
	rng := rand.New(rand.NewPCG(uint64(i), 7))
	newKey := func() wgtypes.Key {
		var k wgtypes.Key
		for j := range k {
			k[j] = byte(rng.Uint32())
		}
		return k
	}
	h := &host{name: name, addr: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), device: dev, peers: map[SessionID]end{}}
	h.Core = NewCore(w.settings(i, name), plainNotary{}, st, rng, newKey, w.now)
	w.hosts = append(w.hosts, h)
	w.step(h, AddressesChanged{Addrs: []netip.Addr{h.addr}, MTU: 1440})
	w.step(h, Observed{Status: h.device})
	return h
}

func (w *world) step(h *host, e Event) {
	for _, effect := range h.Step(w.now, e) {
		w.perform(h, effect)
	}
}

func (w *world) perform(h *host, effect Effect) {
	switch e := effect.(type) {
	case Dial:
		w.todo = append(w.todo, func() { w.dial(h, e.Target) })
	case Send:
		if _, err := topology.EncodeMessage(e.Message); err != nil {
			w.t.Errorf("%s sends what does not encode: %v", h.name, err)
		}
		w.todo = append(w.todo, func() {
			if to, ok := h.peers[e.ID]; ok {
				w.step(to.other, Received{ID: to.id, Message: e.Message})
			}
		})
	case CloseSession:
		w.todo = append(w.todo, func() { w.close(h, e.ID, e.Reason) })
	case Converge:
		h.spec = e
		w.todo = append(w.todo, func() { w.converge(h) })
	case Publish:
		h.snap = e.Snapshot
	case Persist:
		h.state = e.State
	case Note:
		h.notes = append(h.notes, fmt.Sprintf("%s: %s", e.Code, e.Text))
	}
}

func (w *world) dial(h *host, target string) {
	for _, other := range w.hosts {
		if target != netip.AddrPortFrom(other.addr, 6783).String() || w.cut {
			continue
		}
		if other == h {
			w.step(h, DialFailed{Target: target, Kind: DialSelf})
			return
		}
		w.last += 2
		mine, theirs := w.last, w.last+1
		h.peers[mine], other.peers[theirs] = end{other, theirs}, end{h, mine}
		export := sha256.Sum256(fmt.Append(nil, w.last))
		w.step(h, SessionUp{ID: mine, Peer: other.Self(), Record: other.Record(), Dialled: true, Target: target, Remote: netip.AddrPortFrom(other.addr, 6783), Export: export})
		w.step(other, SessionUp{ID: theirs, Peer: h.Self(), Record: h.Record(), Remote: netip.AddrPortFrom(h.addr, 40000), Export: export})
		return
	}
	w.step(h, DialFailed{Target: target, Kind: DialUnreachable, Reason: "nobody there"})
}

func (w *world) close(h *host, id SessionID, reason string) {
	to, ok := h.peers[id]
	if !ok {
		return
	}
	delete(h.peers, id)
	delete(to.other.peers, to.id)
	w.step(h, SessionDown{ID: id, Reason: reason})
	w.step(to.other, SessionDown{ID: to.id, Reason: reason})
}

// converge applies the spec, lets WireGuard shake hands where both ends agree, and reports.
func (w *world) converge(h *host) {
	h.device = applyOps(h.device, Diff(h.spec.Spec, h.device))
	for _, other := range w.hosts {
		w.handshake(h, other)
	}
	w.step(h, Observed{Status: h.device, Applied: h.spec.Generation})
}

func (w *world) handshake(a, b *host) {
	if a == b || len(a.device.Slots) == 0 || len(b.device.Slots) == 0 {
		return
	}
	x, y := &a.device.Slots[0], &b.device.Slots[0]
	for i := range x.Peers {
		for j := range y.Peers {
			p, q := &x.Peers[i], &y.Peers[j]
			if p.Key == y.PublicKey && q.Key == x.PublicKey && p.PSK == q.PSK && (p.Endpoint.IsValid() || q.Endpoint.IsValid()) {
				p.LastHandshake, q.LastHandshake = w.now, w.now
				p.Rx++
				q.Rx++
			}
		}
	}
}

// run lets time pass until done says so or the time is over.
func (w *world) run(limit time.Duration, done func() bool) bool {
	for end := w.now.Add(limit); w.now.Before(end); w.now = w.now.Add(10 * time.Millisecond) {
		for len(w.todo) > 0 {
			next := w.todo[0]
			w.todo = w.todo[1:]
			next()
		}
		if done() {
			return true
		}
		for _, h := range w.hosts {
			if !h.Next().After(w.now) {
				w.step(h, Tick{})
			}
			if w.now.UnixMilli()%1000 == 0 {
				w.converge(h)
			}
		}
	}
	return done()
}

func (w *world) allUp() bool {
	for _, h := range w.hosts {
		up := 0
		for _, p := range h.View().Peers {
			if p.State == LinkUp && p.PSK {
				up++
			}
		}
		if up != len(w.hosts)-1 || len(h.snap.Networks) != 1 || len(h.snap.Networks[0].Members) != len(w.hosts)-1 {
			return false
		}
	}
	return true
}

func (w *world) report() {
	for _, h := range w.hosts {
		w.t.Logf("%s %s\n%+v\n%v", h.name, h.Self().Short(), h.View(), h.notes)
	}
}

func TestHostsOfAMeshLinkUp(t *testing.T) {
	w := newWorld(t, "alpha", "beta", "gamma", "delta")
	if !w.run(2*time.Second, w.allUp) {
		w.report()
		t.Fatal("not all links are up after 2 s")
	}
	for _, h := range w.hosts {
		if n := len(h.direct()); n != 3 {
			t.Errorf("%s has %d sessions, want 3", h.name, n)
		}
		if h.graph.Hash() != w.hosts[0].graph.Hash() {
			t.Errorf("%s knows another graph", h.name)
		}
	}
}

func TestARestartAdoptsTunnelsWithoutRemovingAny(t *testing.T) {
	w := newWorld(t, "alpha", "beta", "gamma")
	if !w.run(2*time.Second, w.allUp) {
		t.Fatal("not all links are up")
	}
	w.run(20*time.Second, func() bool { return false }) // records are written by then
	old := w.hosts[1]
	before := old.device
	for id := range old.peers {
		w.close(old, id, "killed")
	}
	w.hosts = append(w.hosts[:1], w.hosts[2:]...)
	w.cut = true // the peers' daemons are not there either
	reborn := w.add(1, "beta", old.state, before)
	w.run(time.Second, func() bool { return false })
	if got := reborn.device.Slots[0]; got.PublicKey != before.Slots[0].PublicKey || len(got.Peers) != 2 {
		t.Fatalf("after the restart the device has %d tunnels and key %s", len(got.Peers), got.PublicKey)
	}
	if len(reborn.snap.Networks[0].Members) != 2 {
		t.Error("frames are not carried to peers that are known from before")
	}
	w.cut = false
	if !w.run(15*time.Second, w.allUp) {
		w.report()
		t.Fatal("links do not come back")
	}
	if reborn.own.Version.Epoch != old.own.Version.Epoch+1 {
		t.Errorf("epoch %d after %d", reborn.own.Version.Epoch, old.own.Version.Epoch)
	}
}

func TestPSKsThatDifferAreAgreedAnew(t *testing.T) {
	w := newWorld(t, "alpha", "beta")
	if !w.run(2*time.Second, w.allUp) {
		t.Fatal("not all links are up")
	}
	for _, h := range w.hosts { // forced: the ends hold different keys, in the spec too
		for _, l := range h.links {
			l.tunnel.psk[0] ^= byte(len(h.name))
			l.tunnel.pskSince = w.now.Add(-pskVerify)
			l.tunnel.handshake = w.now.Add(-pskVerify)
		}
		h.device.Slots[0].Peers[0].LastHandshake = w.now.Add(-pskVerify - time.Second)
		h.relink = true
	}
	equal := func() bool {
		a, b := w.hosts[0].device.Slots[0].Peers, w.hosts[1].device.Slots[0].Peers
		return len(a) == 1 && len(b) == 1 && a[0].PSK == b[0].PSK && w.allUp()
	}
	if !w.run(30*time.Second, equal) {
		w.report()
		t.Fatal("the keys still differ after 30 s")
	}
}

func TestANodeThatLeavesIsUnlinked(t *testing.T) {
	w := newWorld(t, "alpha", "beta")
	w.run(2*time.Second, w.allUp)
	w.step(w.hosts[1], Leave{})
	w.run(time.Second, func() bool { return len(w.hosts[0].device.Slots[0].Peers) == 0 })
	if n := len(w.hosts[0].device.Slots[0].Peers); n != 0 {
		t.Errorf("alpha still has %d tunnels", n)
	}
}

// What the device says is news to the datapath and to the prober at once, not when something else happens.
func TestWhatTheDeviceSaysIsPublished(t *testing.T) {
	w := newWorld(t, "alpha", "beta")
	w.run(20*time.Second, func() bool { return false }) // nothing else happens any more
	h := w.hosts[0]
	tunnel := h.device.Slots[0].Peers
	observe := func(peers []PeerStatus) {
		h.device.Slots[0].Peers = peers
		w.step(h, Observed{Status: h.device, Applied: h.spec.Generation})
	}
	observe(nil)
	if m := h.snap.Networks[0].Members; len(m) != 0 {
		t.Errorf("without a tunnel there are members %v", m)
	}
	tunnel[0].LastHandshake = w.now
	observe(tunnel)
	if m, p := h.snap.Networks[0].Members, h.snap.Probe; len(m) != 1 || len(p) != 1 {
		t.Errorf("with a tunnel there are members %v, probes %v", m, p)
	}
}

func TestADeviceThatDiedComesBackWithTheEndpointThatWorked(t *testing.T) {
	w := newWorld(t, "alpha", "beta")
	alpha, beta := w.hosts[0], w.hosts[1]
	second := netip.MustParseAddr("198.51.100.7") // a candidate that nobody needed
	w.step(alpha, AddressesChanged{Addrs: []netip.Addr{alpha.addr, second}, MTU: 1440})
	if !w.run(2*time.Second, w.allUp) {
		t.Fatal("not all links are up")
	}
	w.run(20*time.Second, func() bool { return false }) // the first try is long over
	if n := len(beta.candidates(beta.links[alpha.self])); n != 2 {
		t.Fatalf("%d candidates, want 2", n)
	}
	worked := beta.device.Slots[0].Peers[0].Endpoint
	beta.device.Slots[0] = SlotStatus{Up: true, MTU: 1440} // its process was killed and started anew
	beta.device = applyOps(beta.device, Diff(beta.spec.Spec, beta.device))
	w.step(beta, Observed{Status: beta.device})
	if got := beta.spec.Spec.Slots[0].Peers[0].Endpoint; got != worked {
		t.Fatalf("the endpoint moves to %s before %s had its time", got, worked)
	}
}

// A node that is killed soon after its start knows its links at the next one.
func TestTheMeshIsRememberedSoon(t *testing.T) {
	w := newWorld(t, "alpha", "beta", "gamma")
	if !w.run(2*time.Second, w.allUp) {
		t.Fatal("not all links are up")
	}
	w.run(2*time.Second, func() bool { return false })
	for _, h := range w.hosts {
		if n := len(h.state.Records); n != 2 {
			t.Errorf("%s has %d records of others on disk, want 2", h.name, n)
		}
	}
}
