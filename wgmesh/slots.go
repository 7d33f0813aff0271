package wgmesh

import (
	"slices"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// ownSlot is one WireGuard device of this node. Its key never changes: a new key is a new device, made once no tunnel is
// on the old one any more.
type ownSlot struct {
	private    wgtypes.Key
	public     wgtypes.Key
	generation uint32
	since      time.Time
	retiring   bool      // it gets a new key: its tunnels move to other slots
	emptySince time.Time // zero: it has tunnels
}

// slotLinger is how long a second slot without tunnels is kept: paths change in bursts.
const slotLinger = time.Minute

func (s *ownSlot) exists() bool { return s.private != (wgtypes.Key{}) }

func (c *Core) slotPort(s Slot) uint16 { return c.settings.Port + uint16(s) }

// pickSlot chooses the slot for another tunnel of a link: the lowest that is not about to get a new key, made if need be;
// else one that is, for a path that is needed now comes before a key.
func (c *Core) pickSlot(avoid []Slot) (Slot, wgtypes.Key, bool) {
	for _, retiring := range []bool{false, true} {
		for s := range Slot(topology.MaxSlots) {
			if !slices.Contains(avoid, s) && c.slots[s].retiring == retiring && (c.slots[s].exists() || !c.lingers(s)) {
				c.makeSlot(s)
				return s, c.slots[s].public, true
			}
		}
	}
	return 0, wgtypes.Key{}, false
}

// lingers says whether a slot still has the device of a key that it had: a device keeps its key, so no new one can be made.
func (c *Core) lingers(s Slot) bool {
	_, ok := findSlot(c.device.Slots, s)
	return ok
}

// makeSlot gives a slot a fresh key if it has none.
func (c *Core) makeSlot(s Slot) {
	if !c.slots[s].exists() {
		c.takeSlotKey(s, c.newKey(), c.generationOf(s)+1)
	}
}

// generationOf is the number of the last key that a slot is known to have had.
func (c *Core) generationOf(s Slot) uint32 {
	for _, m := range c.state.Slots {
		if m.Slot == s {
			return m.Generation
		}
	}
	return 0
}

// takeSlotKey makes a key that of a slot, and remembers its number.
func (c *Core) takeSlotKey(s Slot, private wgtypes.Key, generation uint32) {
	c.slots[s] = ownSlot{private: private, public: private.PublicKey(), generation: generation, since: c.now}
	memory := SlotMemory{Slot: s, PublicKey: c.slots[s].public.String(), Generation: generation}
	c.state.Slots = append(slices.DeleteFunc(slices.Clone(c.state.Slots), func(m SlotMemory) bool { return m.Slot == s }), memory)
	slices.SortFunc(c.state.Slots, func(a, b SlotMemory) int { return int(a.Slot) - int(b.Slot) })
	c.do(Persist{c.state})
	c.touch()
	c.relink = true
}

// tendSlots removes what holds no tunnel: a slot that was to get a new key at once, a second one after a while. One slot
// always stays, the lowest, so that somebody who knows only our first port finds it.
func (c *Core) tendSlots() {
	used := map[Slot]bool{}
	for _, l := range c.links {
		for _, t := range l.tunnels {
			used[t.slot] = true
		}
	}
	for key := range c.adopted {
		used[key.slot] = true
	}
	for s := range Slot(topology.MaxSlots) {
		own := &c.slots[s]
		switch {
		case !own.exists():
			continue
		case used[s]:
			own.emptySince = time.Time{}
			continue
		case own.emptySince.IsZero():
			own.emptySince = c.now
		}
		if own.retiring || s > 0 && c.slots[0].exists() && c.now.Sub(own.emptySince) > slotLinger {
			c.slots[s] = ownSlot{}
			c.touch()
			c.relink = true
		}
	}
	for s := Slot(0); s < topology.MaxSlots && !c.hasSlot(); s++ {
		if !c.lingers(s) {
			c.makeSlot(s)
		}
	}
}

func (c *Core) hasSlot() bool {
	return slices.ContainsFunc(c.slots[:], func(s ownSlot) bool { return s.exists() })
}

// adoptDevice looks at the device for the first time: what an earlier run left is kept, or a first key is made.
func (c *Core) adoptDevice() {
	c.adopted = map[adoptedKey]PeerStatus{}
	for _, slot := range c.device.Slots {
		if slot.PrivateKey == (wgtypes.Key{}) || slot.Slot >= topology.MaxSlots {
			continue
		}
		generation := c.generationOf(slot.Slot)
		if !slices.ContainsFunc(c.state.Slots, func(m SlotMemory) bool { return m.PublicKey == slot.PublicKey.String() }) {
			generation++
		}
		c.takeSlotKey(slot.Slot, slot.PrivateKey, generation)
		for _, p := range slot.Peers {
			c.adopted[adoptedKey{slot.Slot, p.Key}] = p
		}
	}
	if !c.hasSlot() {
		c.makeSlot(0)
	}
	for _, l := range c.byPeer() {
		c.adopt(l)
	}
	c.relink = true
}

// adoptedKey names a tunnel of before the restart that no link has claimed yet.
type adoptedKey struct {
	slot Slot
	key  wgtypes.Key
}

// adopt lets a link claim the tunnels that were on the device before this run. Who they are for is told by the address that
// may come out of them; WireGuard itself keeps others out.
func (c *Core) adopt(l *link) {
	for key, p := range c.adopted {
		if !slices.Contains(p.Allowed, hostPrefix(l.address)) {
			continue
		}
		delete(c.adopted, key)
		t := &tunnel{
			slot: key.slot, mine: c.slots[key.slot].public, key: p.Key, keySince: c.now, began: c.now, ready: c.now, eager: true, lived: true,
			path: c.pathMemory(l.peer, p.Key), psk: pskState{key: p.PSK, install: true},
		}
		t.observe(c.now, c.device)
		l.tunnels = append(l.tunnels, t)
	}
	slices.SortFunc(l.tunnels, func(a, b *tunnel) int { return int(a.slot) - int(b.slot) })
	for _, t := range l.tunnels {
		if l.using == nil || slices.Contains(c.device.Routes, Route{To: l.address, Slot: t.slot}) {
			l.using = t
		}
	}
	for _, t := range l.tunnels {
		t.retired = t != l.using && l.using.began.Equal(t.began)
	}
}

// observeSlots notices keys that somebody else gave our devices: they work, so the mesh is told; tunnels that were agreed
// for the old key are gone.
func (c *Core) observeSlots() {
	for _, have := range c.device.Slots {
		if have.Slot >= topology.MaxSlots || have.PrivateKey == (wgtypes.Key{}) {
			continue
		}
		own := &c.slots[have.Slot]
		if !own.exists() || have.PrivateKey == own.private {
			continue
		}
		c.takeSlotKey(have.Slot, have.PrivateKey, own.generation+1)
		for _, l := range c.links {
			for _, t := range slices.Clone(l.tunnels) {
				if t.slot == have.Slot {
					l.drop(t)
				}
			}
		}
		c.note(Warn, "slot-key-changed", c.self, have.Name+" was given another private key from outside; the mesh is told")
	}
}
