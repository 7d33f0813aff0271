package l2bridge

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/weavewg/weavewg/learner"
	"github.com/weavewg/weavewg/topology"
)

var (
	station1 = learner.MAC{2, 0, 0, 0, 0, 1}
	station2 = learner.MAC{2, 0, 0, 0, 0, 2}
)

// frame makes a frame of these parts; words are 16 bits each.
func frame(dst, src learner.MAC, words ...uint16) []byte {
	b := append(append([]byte{}, dst[:]...), src[:]...)
	for _, w := range words {
		b = binary.BigEndian.AppendUint16(b, w)
	}
	return b
}

func TestParseKey(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		why   Why
		key   Key
	}{
		{"empty", nil, Runt, Key{}},
		{"13 bytes", make([]byte, 13), Runt, Key{}},
		{"plain", frame(station1, station2, 0x0800), Forwarded, Key{Dst: station1, Src: station2, EtherType: 0x0800}},
		{"length instead of type", frame(station1, station2, 46), Forwarded, Key{Dst: station1, Src: station2, EtherType: 46}},
		{"tagged", frame(station1, station2, 0x8100, 0x6005, 0x86dd), Forwarded, Key{Dst: station1, Src: station2, EtherType: 0x86dd, Tags: 1, VLAN: 5}},
		{"priority tag", frame(station1, station2, 0x8100, 0xe000, 0x0806), Forwarded, Key{Dst: station1, Src: station2, EtherType: 0x0806, Tags: 1}},
		{"two tags", frame(station1, station2, 0x88a8, 7, 0x8100, 8, 0x0800), Forwarded, Key{Dst: station1, Src: station2, EtherType: 0x0800, Tags: 2, VLAN: 7}},
		{"VLAN 4095", frame(station1, station2, 0x8100, 0x0fff, 0x0800), BadVLAN, Key{}},
		{"VLAN 4095 inside", frame(station1, station2, 0x88a8, 1, 0x8100, 0xffff, 0x0800), BadVLAN, Key{}},
		{"three tags", frame(station1, station2, 0x8100, 1, 0x8100, 2, 0x8100, 3, 0x0800), TooManyTags, Key{}},
		{"tag cut off", frame(station1, station2, 0x8100, 1), Runt, Key{}},
		{"source is a group", frame(station1, learner.MAC{1, 0, 0, 0, 0, 1}, 0x0800), BadSource, Key{}},
		{"source is zero", frame(station1, learner.MAC{}, 0x0800), BadSource, Key{}},
		{"spanning tree", frame(learner.MAC{1, 0x80, 0xc2, 0, 0, 0}, station2, 38), ReservedGroup, Key{}},
		{"LLDP", frame(learner.MAC{1, 0x80, 0xc2, 0, 0, 0x0e}, station2, 0x88cc), ReservedGroup, Key{}},
		{"GVRP is not reserved", frame(learner.MAC{1, 0x80, 0xc2, 0, 0, 0x21}, station2, 38), Forwarded, Key{Dst: learner.MAC{1, 0x80, 0xc2, 0, 0, 0x21}, Src: station2, EtherType: 38}},
	} {
		k, why := ParseKey(c.frame)
		if why != c.why {
			t.Errorf("%s: %s, want %s", c.name, why, c.why)
		} else if why == Forwarded && k != c.key {
			t.Errorf("%s: %+v, want %+v", c.name, k, c.key)
		}
	}
}

func TestParseKeyAllocatesNothing(t *testing.T) {
	f := frame(station1, station2, 0x8100, 5, 0x0800)
	if n := testing.AllocsPerRun(100, func() { ParseKey(f) }); n != 0 {
		t.Fatalf("%v allocations a frame", n)
	}
}

func TestVXLAN(t *testing.T) {
	packet := append(make([]byte, VXLANHeader), 1, 2, 3)
	PutVXLAN(packet, 0xabcdef)
	if vni, inner, why := ParseVXLAN(packet); vni != 0xabcdef || len(inner) != 3 || why != Forwarded {
		t.Fatalf("%x, %v, %s", vni, inner, why)
	}
	for _, c := range []struct {
		name   string
		at     int
		value  byte
		length int
		why    Why
	}{
		{"empty", 0, 8, 0, VXLANShort},
		{"7 bytes", 0, 8, 7, VXLANShort},
		{"no I flag", 0, 0, 11, VXLANFlags},
		{"GPE", 0, 0x0c, 11, VXLANFlags},
		{"group policy", 0, 0x88, 11, VXLANFlags},
		{"remote checksum", 0, 0x28, 11, VXLANFlags},
		{"reserved 1", 1, 1, 11, VXLANReserved},
		{"reserved 2", 2, 0x80, 11, VXLANReserved},
		{"next protocol", 3, 3, 11, VXLANReserved},
		{"last byte", 7, 1, 11, VXLANReserved},
	} {
		bad := append([]byte{}, packet...)
		bad[c.at] = c.value
		if _, _, why := ParseVXLAN(bad[:c.length]); why != c.why {
			t.Errorf("%s: %s, want %s", c.name, why, c.why)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(frame(station1, station2, 0x0800))
	f.Add(frame(station1, station2, 0x88a8, 7, 0x8100, 8, 0x0800))
	f.Add(frame(learner.Broadcast, station2, 0x8100, 0x0fff, 0x0806))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, why := ParseKey(b)
		if why != Forwarded {
			return
		}
		if k.Header() > len(b) || k.Tags > MaxVLANTags || k.VLAN > 0xffe || k.Src.Group() {
			t.Fatalf("%+v from %x", k, b)
		}
		_ = Describe(b)
		if Tells(b, &k) {
			NewInspector().Inspect(b, &k)
		}
	})
}

func FuzzParseVXLAN(f *testing.F) {
	good := make([]byte, 30)
	PutVXLAN(good, 42)
	f.Add(good)
	f.Add(good[:8])
	f.Add([]byte{8})
	f.Fuzz(func(t *testing.T, b []byte) {
		vni, inner, why := ParseVXLAN(b)
		if why == Forwarded {
			again := make([]byte, VXLANHeader)
			PutVXLAN(again, vni)
			if string(append(again, inner...)) != string(b) {
				t.Fatalf("%x does not come back", b)
			}
		}
	})
}

type oneOwner topology.NodeID

func (o oneOwner) Lookup(_ time.Time, mac learner.MAC) (topology.NodeID, bool) {
	return topology.NodeID(o), mac == station1
}

func TestDecide(t *testing.T) {
	alpha, beta, gone := topology.NodeID{1}, topology.NodeID{2}, topology.NodeID{9}
	members := NewMembers([]Member{
		{ID: beta, Address: netip.MustParseAddr("fd00::2")}, {ID: alpha, Address: netip.MustParseAddr("fd00::1")},
		{ID: beta, Address: netip.MustParseAddr("fd00::2")},
	})
	for _, c := range []struct {
		name    string
		dst     learner.MAC
		owner   topology.NodeID
		members *Members
		to      []topology.NodeID
		class   Class
		why     Why
	}{
		{"known", station1, beta, members, []topology.NodeID{beta}, Unicast, Forwarded},
		{"known here", station1, learner.Local, members, nil, Unicast, LocalDestination},
		{"known at a peer without a link", station1, gone, members, nil, Unicast, PeerDown},
		{"unknown", station2, beta, members, []topology.NodeID{alpha, beta}, Unknown, Forwarded},
		{"broadcast", learner.Broadcast, beta, members, []topology.NodeID{alpha, beta}, Broadcast, Forwarded},
		{"multicast", learner.MAC{1, 0, 0x5e, 0, 0, 1}, beta, members, []topology.NodeID{alpha, beta}, Multicast, Forwarded},
		{"alone", learner.Broadcast, beta, NewMembers(nil), nil, Broadcast, NoMembers},
	} {
		v := Decide(time.Time{}, &Key{Dst: c.dst, Src: station2}, oneOwner(c.owner), c.members)
		if v.Why != c.why || v.Class != c.class || len(v.To) != len(c.to) {
			t.Errorf("%s: %+v", c.name, v)
			continue
		}
		for i := range v.To {
			if v.To[i].ID != c.to[i] {
				t.Errorf("%s: to %s, want %s", c.name, v.To[i].ID.Short(), c.to[i].Short())
			}
		}
	}
	if m, ok := members.At(netip.MustParseAddr("fd00::2")); !ok || m.ID != beta {
		t.Errorf("At: %v, %v", m, ok)
	}
	if _, ok := members.At(netip.MustParseAddr("fd00::3")); ok {
		t.Error("a stranger is a member")
	}
}

func TestEveryReasonHasAName(t *testing.T) {
	seen := map[string]bool{}
	for w := range Whys {
		if name := w.String(); name == "" || seen[name] {
			t.Errorf("reason %d: %q", w, name)
		} else {
			seen[name] = true
		}
	}
	for c := range Classes {
		if ClassOf(&Key{Dst: learner.Broadcast}) != Broadcast || c.String() == "" || c.String() == "none" {
			t.Errorf("class %d: %q", c, c)
		}
	}
}
