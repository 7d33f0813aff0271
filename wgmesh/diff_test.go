package wgmesh

import (
	"net/netip"
	"slices"
	"testing"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"
)

// applyOps is the slow twin of the edge: it does to a status what the kernel would do.
func applyOps(s DeviceStatus, ops []Op) DeviceStatus {
	slot := func(n Slot) *SlotStatus {
		for i := range s.Slots {
			if s.Slots[i].Slot == n {
				return &s.Slots[i]
			}
		}
		return nil
	}
	for _, op := range ops {
		switch o := op.(type) {
		case AddAddress:
			s.Address = o.Address
		case AddSlot:
			if have := slot(o.Slot); have != nil {
				have.PrivateKey, have.PublicKey, have.Port, have.MTU, have.Up = o.PrivateKey, o.PrivateKey.PublicKey(), o.Port, o.MTU, true
				break
			}
			s.Slots = append(s.Slots, SlotStatus{Slot: o.Slot, PrivateKey: o.PrivateKey, PublicKey: o.PrivateKey.PublicKey(), Port: o.Port, MTU: o.MTU, Up: true})
		case SetSlot:
			have := slot(o.Slot)
			if o.Port != 0 {
				have.Port = o.Port
			}
			if o.MTU != 0 {
				have.MTU = o.MTU
			}
			have.Up = have.Up || o.Up
		case AddPeer:
			have := slot(o.Slot)
			for i := range s.Slots { // an allowed IP belongs to one peer of a device: it moves
				if s.Slots[i].Slot == o.Slot {
					steal(&s.Slots[i], o.Peer.Allowed)
				}
			}
			have.Peers = append(have.Peers, PeerStatus{Key: o.Peer.Key, PSK: o.Peer.PSK, Endpoint: o.Peer.Endpoint, Allowed: slices.Clone(o.Peer.Allowed), Keepalive: Keepalive})
		case SetPeer:
			have := slot(o.Slot)
			steal(have, o.Allowed)
			for i := range have.Peers {
				p := &have.Peers[i]
				if p.Key != o.Key {
					continue
				}
				if o.PSK != nil {
					p.PSK = *o.PSK
				}
				if o.Endpoint != nil {
					p.Endpoint = *o.Endpoint
				}
				p.Allowed = append(p.Allowed, o.Allowed...)
				if o.Keepalive {
					p.Keepalive = Keepalive
				}
			}
		case DelPeer:
			have := slot(o.Slot)
			have.Peers = slices.DeleteFunc(have.Peers, func(p PeerStatus) bool { return p.Key == o.Key })
		case DelSlot:
			s.Slots = slices.DeleteFunc(s.Slots, func(x SlotStatus) bool { return x.Slot == o.Slot })
			s.Routes = slices.DeleteFunc(s.Routes, func(r Route) bool { return r.Slot == o.Slot })
		case SetRoute:
			s.Routes = slices.DeleteFunc(s.Routes, func(r Route) bool { return r.To == o.To })
			s.Routes = append(s.Routes, o.Route)
		case DelRoute:
			s.Routes = slices.DeleteFunc(s.Routes, func(r Route) bool { return r == o.Route })
		}
	}
	return s
}

func steal(s *SlotStatus, prefixes []netip.Prefix) {
	for i := range s.Peers {
		s.Peers[i].Allowed = slices.DeleteFunc(s.Peers[i].Allowed, func(p netip.Prefix) bool { return slices.Contains(prefixes, p) })
	}
}

// drawSpec makes a spec like those of the core: every overlay address belongs to one tunnel.
func drawSpec(t *rapid.T, label string) DeviceSpec {
	addr := func(n int) netip.Addr { return netip.AddrFrom16([16]byte{0xfd, 15: byte(n)}) }
	spec := DeviceSpec{Address: addr(255)}
	used := map[int]bool{}
	for slot := range rapid.IntRange(0, 3).Draw(t, label+"slots") {
		s := SlotSpec{Slot: Slot(slot), PrivateKey: wgtypes.Key{byte(slot + 1)}, Port: uint16(rapid.IntRange(1, 3).Draw(t, "port")), MTU: rapid.SampledFrom([]int{1350, 1420}).Draw(t, "mtu")}
		for key := range rapid.IntRange(0, 5).Draw(t, "peers") {
			n := rapid.IntRange(0, 12).Draw(t, "address")
			if used[n] {
				continue
			}
			used[n] = true
			s.Peers = append(s.Peers, PeerSpec{
				Key: wgtypes.Key{byte(key + 1), byte(slot)}, PSK: wgtypes.Key{byte(rapid.IntRange(1, 3).Draw(t, "psk"))},
				Endpoint: netip.AddrPortFrom(addr(n), uint16(rapid.IntRange(1, 3).Draw(t, "endpoint"))), Move: rapid.Bool().Draw(t, "move"),
				Allowed: []netip.Prefix{hostPrefix(addr(n))},
			})
			spec.Routes = append(spec.Routes, Route{To: addr(n), Slot: Slot(slot)})
		}
		spec.Slots = append(spec.Slots, s)
	}
	return spec
}

func TestDiffConvergesAndThenIsSilent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		status := applyOps(DeviceStatus{}, Diff(drawSpec(t, "before "), DeviceStatus{}))
		spec := drawSpec(t, "after ")
		status = applyOps(status, Diff(spec, status))
		if again := Diff(spec, status); len(again) != 0 {
			t.Fatalf("a second diff still wants %#v", again)
		}
		if len(status.Routes) != len(spec.Routes) {
			t.Fatalf("%d routes, want %d", len(status.Routes), len(spec.Routes))
		}
	})
}

func TestDiffAddsBeforeItRemoves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		status := applyOps(DeviceStatus{}, Diff(drawSpec(t, "before "), DeviceStatus{}))
		removing := false
		for _, op := range Diff(drawSpec(t, "after "), status) {
			switch op.(type) {
			case DelPeer, DelSlot, DelRoute:
				removing = true
			default:
				if removing {
					t.Fatalf("%#v comes after a removal", op)
				}
			}
		}
	})
}

func TestDiffLeavesTheEndpointOfALivingTunnelAlone(t *testing.T) {
	roamed := netip.MustParseAddrPort("192.0.2.9:4444")
	spec := DeviceSpec{Slots: []SlotSpec{{PrivateKey: wgtypes.Key{1}, Peers: []PeerSpec{{Key: wgtypes.Key{2}, Endpoint: netip.MustParseAddrPort("192.0.2.1:6783")}}}}}
	status := applyOps(DeviceStatus{}, Diff(spec, DeviceStatus{}))
	status.Slots[0].Peers[0].Endpoint = roamed
	if ops := Diff(spec, status); len(ops) != 0 {
		t.Fatalf("a roamed endpoint is repaired: %#v", ops)
	}
	spec.Slots[0].Peers[0].Move = true
	if ops := Diff(spec, status); len(ops) != 1 {
		t.Fatalf("Move gives %#v, want one SetPeer", ops)
	}
}

func TestDiffGivesAKeylessDeviceItsKeyBack(t *testing.T) {
	spec := DeviceSpec{Slots: []SlotSpec{{PrivateKey: wgtypes.Key{1}, Port: 6783, MTU: 1420}}}
	status := DeviceStatus{Slots: []SlotStatus{{Up: true, MTU: 1420}}}
	ops := Diff(spec, status)
	if add, ok := ops[0].(AddSlot); len(ops) != 1 || !ok || add.PrivateKey != spec.Slots[0].PrivateKey {
		t.Fatalf("got %#v", ops)
	}
}
