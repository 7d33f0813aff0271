package topology

import (
	"net/netip"

	"pgregory.net/rapid"
)

// The generators draw values that keep every limit; what breaks one is in the tables.

func genBytes32(t *rapid.T, label string) [32]byte {
	return [32]byte(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, label))
}

func genID(t *rapid.T, label string) NodeID {
	for {
		id := NodeID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label))
		if !id.IsZero() {
			return id
		}
	}
}

func genKey(t *rapid.T, label string) [32]byte {
	return rapid.Custom(func(t *rapid.T) [32]byte { return genBytes32(t, label) }).
		Filter(func(k [32]byte) bool { return CheckSlotKey(k) == nil }).Draw(t, label)
}

func genAddr(t *rapid.T) netip.Addr {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		n := rapid.SampledFrom([]int{4, 16}).Draw(t, "family")
		a, _ := netip.AddrFromSlice(rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, "addr"))
		return a
	}).Filter(func(a netip.Addr) bool { return CheckUnderlay(a) == nil }).Draw(t, "address")
}

func genName(t *rapid.T) string {
	return rapid.StringMatching(`[a-zäöü][a-z0-9 é-]{0,12}`).Draw(t, "name")
}

func genEndpoint(t *rapid.T) Endpoint {
	return Endpoint{
		Slot: rapid.Uint8Max(MaxSlots-1).Draw(t, "slot"),
		Addr: netip.AddrPortFrom(genAddr(t), rapid.Uint16Min(1).Draw(t, "port")),
	}
}

func genVersion(t *rapid.T) Version {
	return Version{Epoch: rapid.Uint64Max(maxVersion-1).Draw(t, "epoch"), Seq: rapid.Uint64Max(maxVersion-1).Draw(t, "seq")}
}

func genSlice[T any](t *rapid.T, most int, one func(*rapid.T) T) []T {
	var s []T
	for range rapid.IntRange(0, most).Draw(t, "count") {
		s = append(s, one(t))
	}
	return s
}

func genRecord(t *rapid.T) *Record {
	r := &Record{
		Key:      genKey(t, "identity"),
		Version:  genVersion(t),
		Run:      [8]byte(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "run")),
		Name:     genName(t),
		Software: genName(t),
		Features: rapid.Uint64().Draw(t, "features"),
		Port:     rapid.Uint16Min(1).Draw(t, "port"),
		Addrs:    genSlice(t, 4, genAddr),
		Seen:     genSlice(t, 4, genEndpoint),
		MTU:      rapid.SampledFrom([]uint16{0, 1280, 1420, 65535}).Draw(t, "mtu"),
		Left:     rapid.Bool().Draw(t, "left"),
	}
	for i := range rapid.IntRange(0, MaxSlots).Draw(t, "slots") {
		r.Slots = append(r.Slots, SlotKey{
			Slot: uint8(i), Generation: rapid.Uint32().Draw(t, "generation"),
			Key: genKey(t, "slot key"), Port: uint16(6783 + i),
		})
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "networks") {
		r.Networks = append(r.Networks, NetworkRef{
			Name: string(rune('a'+i)) + genName(t), VNI: uint32(rapid.IntRange(1, 1<<19).Draw(t, "vni")*8 + i),
		})
	}
	for range rapid.IntRange(0, MaxNeighbours).Draw(t, "edges") {
		r.Edges = append(r.Edges, Edge{Peer: genID(t, "peer"), Cost: rapid.Byte().Draw(t, "cost")})
	}
	return r
}

func genMessage(t *rapid.T) Message {
	blob := func(most int) []byte { return rapid.SliceOfN(rapid.Byte(), 1, most).Draw(t, "blob") }
	ping := func() *Ping {
		return &Ping{Nonce: rapid.Uint64().Draw(t, "nonce"), Graph: rapid.Uint64().Draw(t, "graph")}
	}
	switch rapid.IntRange(1, 9).Draw(t, "field") {
	case 1:
		return Message{Digest: &Digest{Last: rapid.Bool().Draw(t, "last"), Known: genSlice(t, 20, func(t *rapid.T) Known {
			return Known{ID: genID(t, "id"), Version: genVersion(t), Hash: rapid.Uint64().Draw(t, "hash")}
		})}}
	case 2:
		return Message{Records: append(genSlice(t, 3, func(*rapid.T) Sealed {
			return Sealed{Body: blob(MaxRecord), Sig: blob(64), Proof: blob(32)}
		}), Sealed{Body: blob(9), Sig: blob(64), Proof: blob(32)})}
	case 3:
		return Message{Seen: &Seen{genEndpoint(t)}}
	case 4:
		return Message{PSK: &PSKStep{
			Epoch: rapid.Uint64().Draw(t, "epoch"), Phase: PSKPhase(rapid.IntRange(1, 3).Draw(t, "phase")),
			Tunnel: TunnelPair{
				MySlot: 1, MyKey: genKey(t, "mine"), YourSlot: 2, YourKey: genKey(t, "yours"),
			},
		}}
	case 5:
		return Message{Routed: &Routed{
			From: genID(t, "from"), To: genID(t, "to"), Stream: rapid.Uint64().Draw(t, "stream"),
			Opener: rapid.Bool().Draw(t, "opener"), Seq: rapid.Uint64().Draw(t, "seq"), Data: blob(2000),
			Fin: rapid.Bool().Draw(t, "fin"), Hops: rapid.Uint8Max(MaxHops).Draw(t, "hops"),
		}}
	case 6:
		return Message{Ping: ping()}
	case 7:
		return Message{Pong: ping()}
	case 8:
		return Message{Forget: &Forget{Node: genID(t, "node"), Floor: genVersion(t)}}
	default:
		return Message{Bye: &Bye{Reason: genName(t), Full: rapid.Bool().Draw(t, "full")}}
	}
}
