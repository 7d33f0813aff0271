package wgmesh

import (
	"net/netip"
	"slices"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// Diff returns the steps from status to spec: address and devices first, then tunnels, then routes, removals last, each
// in the order of slot, key or address. It never replaces what is right already, and leaves the endpoint of a tunnel
// alone unless the spec says Move. Diff of a status that Apply made is empty.
func Diff(spec DeviceSpec, status DeviceStatus) []Op {
	var add, remove []Op
	if spec.Address.IsValid() && status.Address != spec.Address {
		add = append(add, AddAddress{spec.Address})
	}
	for _, want := range spec.Slots {
		have, ok := findSlot(status.Slots, want.Slot)
		if !ok || have.PrivateKey == (wgtypes.Key{}) { // no device, or one whose process died and forgot everything
			add = append(add, AddSlot{Slot: want.Slot, PrivateKey: want.PrivateKey, Port: want.Port, MTU: want.MTU})
		} else if set, differs := diffSlot(want, have); differs {
			add = append(add, set)
		}
		a, r := diffPeers(want, have)
		add, remove = append(add, a...), append(remove, r...)
	}
	for _, have := range status.Slots {
		if !slices.ContainsFunc(spec.Slots, func(s SlotSpec) bool { return s.Slot == have.Slot }) {
			remove = append(remove, DelSlot{have.Slot})
		}
	}
	a, r := diffRoutes(spec, status)
	return slices.Concat(add, a, r, remove)
}

func findSlot(slots []SlotStatus, slot Slot) (SlotStatus, bool) {
	i := slices.IndexFunc(slots, func(s SlotStatus) bool { return s.Slot == slot })
	if i < 0 {
		return SlotStatus{}, false
	}
	return slots[i], true
}

func diffSlot(want SlotSpec, have SlotStatus) (SetSlot, bool) {
	set := SetSlot{Slot: want.Slot}
	if have.Port != want.Port {
		set.Port = want.Port
	}
	if have.MTU != want.MTU {
		set.MTU = want.MTU
	}
	set.Up = !have.Up
	return set, set.Port != 0 || set.MTU != 0 || set.Up
}

func diffPeers(want SlotSpec, have SlotStatus) (add, remove []Op) {
	old := make(map[wgtypes.Key]PeerStatus, len(have.Peers))
	for _, p := range have.Peers {
		old[p.Key] = p
	}
	for _, p := range want.Peers {
		is, ok := old[p.Key]
		delete(old, p.Key)
		if !ok {
			add = append(add, AddPeer{Slot: want.Slot, Peer: p})
		} else if set, differs := diffPeer(want.Slot, p, is); differs {
			add = append(add, set)
		}
	}
	for _, p := range have.Peers {
		if _, gone := old[p.Key]; gone {
			remove = append(remove, DelPeer{Slot: want.Slot, Key: p.Key})
		}
	}
	return add, remove
}

func diffPeer(slot Slot, want PeerSpec, have PeerStatus) (SetPeer, bool) {
	set, differs := SetPeer{Slot: slot, Key: want.Key}, false
	if have.PSK != want.PSK {
		set.PSK, differs = &want.PSK, true
	}
	if want.Move && want.Endpoint.IsValid() && have.Endpoint != want.Endpoint {
		set.Endpoint, differs = &want.Endpoint, true
	}
	for _, prefix := range want.Allowed {
		if !slices.Contains(have.Allowed, prefix) {
			set.Allowed, differs = append(set.Allowed, prefix), true
		}
	}
	if have.Keepalive != Keepalive {
		set.Keepalive, differs = true, true
	}
	return set, differs
}

func diffRoutes(spec DeviceSpec, status DeviceStatus) (add, remove []Op) {
	have := make(map[netip.Addr]Slot, len(status.Routes))
	for _, r := range status.Routes {
		have[r.To] = r.Slot
	}
	for _, r := range spec.Routes {
		if slot, ok := have[r.To]; !ok || slot != r.Slot {
			add = append(add, SetRoute{r})
		}
		delete(have, r.To)
	}
	for _, r := range status.Routes {
		if _, gone := have[r.To]; gone {
			remove = append(remove, DelRoute{r})
		}
	}
	return add, remove
}
