package wgmesh

import (
	"bytes"
	"crypto/sha256"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// foreign is the record of a node that is not there itself, as a neighbour passes it on.
func foreign(t *testing.T, name string, v topology.Version, change func(*topology.Record)) topology.Sealed {
	t.Helper()
	key := wgtypes.Key(sha256.Sum256([]byte("wireguard key of " + name)))
	r := topology.Record{
		Key: sha256.Sum256([]byte(name)), Version: v, Name: name, Port: 6783, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.99")},
		Slots:    []topology.SlotKey{{Generation: 1, Key: key, Port: 6783}},
		Networks: []topology.NetworkRef{{Name: "default", VNI: 7}}, MTU: 1440,
	}
	if change != nil {
		change(&r)
	}
	sealed, err := plainNotary{}.Seal(&r)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// from gives h records over its session with peer, and returns what h then sends to anybody.
func (w *world) from(h, peer *host, records ...topology.Sealed) []Effect {
	w.t.Helper()
	for id, e := range h.peers {
		if e.other == peer {
			return h.Step(w.now, Received{ID: id, Message: topology.Message{Records: records}})
		}
	}
	w.t.Fatalf("%s has no session with %s", h.name, peer.name)
	return nil
}

func (h *host) peerNamed(name string) (p PeerView, ok bool) {
	for _, p := range h.View().Peers {
		if p.Name == name {
			return p, true
		}
	}
	return PeerView{}, false
}

// TestBadRecordsAreDropped: they change nothing, are passed on to nobody, do not end the session and do not fill the log.
func TestBadRecordsAreDropped(t *testing.T) {
	w := newWorld(t, "alpha", "beta", "gamma")
	if !w.run(2*time.Second, w.allUp) {
		t.Fatal("not all links are up")
	}
	alpha, beta := w.hosts[0], w.hosts[1]
	good := foreign(t, "delta", topology.Version{Epoch: 3, Seq: 4}, nil)
	if effects := w.from(alpha, beta, good); len(effects) == 0 {
		t.Fatal("a good record is not news")
	}
	spoilt := good
	spoilt.Body = append(bytes.Clone(good.Body[:len(good.Body)-1]), good.Body[len(good.Body)-1]^1)
	garbage := []byte("no record at all")
	sum := sha256.Sum256(garbage)
	before := alpha.graph.Hash()
	for name, bad := range map[string]topology.Sealed{
		"changed after it was signed": spoilt,
		"signed garbage":              {Body: garbage, Sig: append(sum[:], sum[:]...), Proof: sum[:]},
		"older epoch":                 foreign(t, "delta", topology.Version{Epoch: 2, Seq: 1 << 40}, nil),
		"older version":               foreign(t, "delta", topology.Version{Epoch: 3, Seq: 3}, nil),
		"again":                       good,
	} {
		notes := 0
		for range 1000 {
			for _, effect := range w.from(alpha, beta, bad) {
				switch e := effect.(type) {
				case Send:
					if e.Message.Records != nil {
						t.Fatalf("%s: passed on", name)
					}
				case CloseSession:
					t.Fatalf("%s: ends the session: %s", name, e.Reason)
				case Note:
					notes++
				}
			}
		}
		if notes > 1 {
			t.Errorf("%s: %d notes about 1,000 records", name, notes)
		}
	}
	if alpha.graph.Hash() != before {
		t.Error("bad records changed the graph")
	}
	if len(alpha.direct()) != 2 {
		t.Errorf("%d sessions are left of 2", len(alpha.direct()))
	}
}

// TestStolenKeys: who states the WireGuard key of another node, or ours, gets no tunnel and takes none away.
func TestStolenKeys(t *testing.T) {
	w := newWorld(t, "alpha", "beta", "gamma")
	if !w.run(2*time.Second, w.allUp) {
		t.Fatal("not all links are up")
	}
	alpha, beta, gamma := w.hosts[0], w.hosts[1], w.hosts[2]
	for name, key := range map[string]wgtypes.Key{"own": alpha.slot.public, "gamma's": gamma.slot.public} {
		thief := foreign(t, "thief of "+name, topology.Version{Epoch: 1, Seq: 1}, func(r *topology.Record) { r.Slots[0].Key = key })
		noted := false
		for _, effect := range w.from(alpha, beta, thief) {
			if n, ok := effect.(Note); ok && n.Code == "key-refused" {
				noted = true
			}
		}
		p, _ := alpha.peerNamed("thief of " + name)
		if !noted || p.State != LinkDown || !strings.Contains(p.Reason, "WireGuard key") {
			t.Errorf("%s: noted: %v, %+v", name, noted, p)
		}
	}
	w.run(3*time.Second, func() bool { return false })
	for _, l := range alpha.links {
		if l.tunnel.key == alpha.slot.public || l.peer != beta.Self() && l.peer != gamma.Self() {
			t.Errorf("a link with %s, key %s", alpha.Core.name(l.peer), l.tunnel.key)
		}
	}
	if p, _ := alpha.peerNamed("gamma"); p.State != LinkUp || len(alpha.device.Slots[0].Peers) != 2 {
		t.Errorf("the link with gamma: %+v", p)
	}
}

// TestAKeyOutlivesItsIdentity: a node that was given a new identity and kept its WireGuard key is linked once the old one
// is gone for good.
func TestAKeyOutlivesItsIdentity(t *testing.T) {
	w := newWorld(t, "alpha", "beta")
	if !w.run(2*time.Second, w.allUp) {
		t.Fatal("not all links are up")
	}
	alpha, beta := w.hosts[0], w.hosts[1]
	key := wgtypes.Key(sha256.Sum256([]byte("a key that stays")))
	keep := func(r *topology.Record) { r.Slots[0].Key = key }
	w.from(alpha, beta, foreign(t, "old", topology.Version{Epoch: 1, Seq: 1}, keep)) // nobody has a session with it
	w.from(alpha, beta, foreign(t, "new", topology.Version{Epoch: 1, Seq: 1}, keep))
	w.run(2*time.Second, func() bool { return false })
	id := topology.IDOf(func() []byte { k := sha256.Sum256([]byte("new")); return k[:] }())
	if l := alpha.links[id]; l == nil || l.tunnel.key != key {
		t.Errorf("no link with the new identity: %+v", alpha.View().Peers)
	}
}

// TestAForgottenNodeComesBackWithoutItsState: the mesh keeps the records of a forgotten node out up to a version; a node
// whose state was lost counts from the beginning and must learn of it.
func TestAForgottenNodeComesBackWithoutItsState(t *testing.T) {
	w := newWorld(t, "alpha", "beta")
	if !w.run(2*time.Second, w.allUp) {
		t.Fatal("not all links are up")
	}
	w.run(10*time.Second, func() bool { return false })
	beta := w.hosts[1]
	for id := range beta.peers {
		w.close(beta, id, "killed")
	}
	w.hosts = w.hosts[:1]
	w.cut = true
	gone := func() bool { p, ok := w.hosts[0].peerNamed("beta"); return ok && !p.Control }
	if !w.run(30*time.Second, gone) {
		t.Fatal("alpha does not miss beta")
	}
	w.step(w.hosts[0], ForgetNode{Node: beta.Self()})
	if _, ok := w.hosts[0].peerNamed("beta"); ok {
		t.Fatal("alpha did not forget beta")
	}
	w.cut = false
	w.add(1, "beta", State{}, DeviceStatus{})
	if !w.run(10*time.Second, w.allUp) {
		w.report()
		t.Fatal("beta stays out")
	}
}

// TestAbsurdForgets: nobody can drop a node that is there, nor use up the version numbers of one that is not.
func TestAbsurdForgets(t *testing.T) {
	w := newWorld(t, "alpha", "beta", "gamma")
	if !w.run(2*time.Second, w.allUp) {
		t.Fatal("not all links are up")
	}
	alpha, beta := w.hosts[0], w.hosts[1]
	absent := foreign(t, "delta", topology.Version{Epoch: 3, Seq: 4}, nil)
	w.from(alpha, beta, absent)
	epoch := alpha.own.Version.Epoch
	delta := sha256.Sum256([]byte("delta"))
	for id := range alpha.peers {
		for _, node := range []topology.NodeID{alpha.Self(), beta.Self(), w.hosts[2].Self(), topology.IDOf(delta[:])} {
			f := topology.Forget{Node: node, Floor: topology.Version{Epoch: 1 << 61, Seq: 1 << 61}}
			w.step(alpha, Received{ID: id, Message: topology.Message{Forget: &f}})
		}
	}
	w.run(5*time.Second, func() bool { return false })
	if p := alpha.View().Peers; len(p) != 3 || len(alpha.graph.Floors()) != 0 {
		t.Errorf("forgotten: left are %+v, floors %v", p, alpha.graph.Floors())
	}
	if alpha.own.Version.Epoch != epoch {
		t.Errorf("epoch %d became %d", epoch, alpha.own.Version.Epoch)
	}
	if p, _ := alpha.peerNamed("beta"); p.State != LinkUp {
		t.Errorf("beta: %+v", p)
	}
}
