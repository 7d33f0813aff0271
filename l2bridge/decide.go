package l2bridge

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weavewg/weavewg/learner"
	"github.com/weavewg/weavewg/topology"
)

// Member is another node of a network whose link carries frames.
type Member struct {
	ID      topology.NodeID
	Address netip.Addr // overlay address
}

// Members are the other nodes of one network. They never change: a new set replaces an old one.
type Members struct {
	list      []Member // in id order
	byAddress map[netip.Addr]int
}

// NewMembers returns the set of list.
func NewMembers(list []Member) *Members {
	m := &Members{list: slices.Clone(list), byAddress: make(map[netip.Addr]int, len(list))}
	slices.SortFunc(m.list, func(a, b Member) int { return a.ID.Compare(b.ID) })
	m.list = slices.CompactFunc(m.list, func(a, b Member) bool { return a.ID == b.ID })
	for i := range m.list {
		m.byAddress[m.list[i].Address] = i
	}
	return m
}

// All returns every member. The caller must not change it.
func (m *Members) All() []Member { return m.list }

// one returns the member with this id, as a set of one or none.
func (m *Members) one(id topology.NodeID) []Member {
	i, ok := slices.BinarySearchFunc(m.list, id, func(a Member, id topology.NodeID) int { return a.ID.Compare(id) })
	if !ok {
		return nil
	}
	return m.list[i : i+1]
}

// At returns the member with this overlay address.
func (m *Members) At(address netip.Addr) (Member, bool) {
	i, ok := m.byAddress[address]
	if !ok {
		return Member{}, false
	}
	return m.list[i], true
}

// Verdict says where a frame goes: to these members, and to nobody unless Why is Forwarded.
type Verdict struct {
	To    []Member // part of the set that was asked: not to be changed
	Class Class
	Why   Why
}

// Lookup finds the owner of a MAC; learner.Table is one.
type Lookup interface {
	Lookup(now time.Time, mac learner.MAC) (owner topology.NodeID, ok bool)
}

// Decide says where a frame goes that was captured at the overlay port of a network's bridge: to the node that its
// destination is behind, or one copy to every member. Frames that came out of the overlay are never asked about
// (split horizon), so there is no loop inside it.
func Decide(now time.Time, k *Key, table Lookup, members *Members) Verdict {
	switch {
	case k.Dst == learner.Broadcast:
		return flood(Broadcast, members)
	case k.Dst.Group():
		return flood(Multicast, members)
	}
	owner, ok := table.Lookup(now, k.Dst)
	switch {
	case !ok:
		return flood(Unknown, members)
	case owner == learner.Local:
		return Verdict{Class: Unicast, Why: LocalDestination}
	}
	to := members.one(owner)
	if to == nil {
		return Verdict{Class: Unicast, Why: PeerDown}
	}
	return Verdict{To: to, Class: Unicast}
}

func flood(c Class, members *Members) Verdict {
	if len(members.list) == 0 {
		return Verdict{Class: c, Why: NoMembers}
	}
	return Verdict{To: members.list, Class: c}
}

// ClassOf sorts a frame that came out of the tunnel.
func ClassOf(k *Key) Class {
	switch {
	case k.Dst == learner.Broadcast:
		return Broadcast
	case k.Dst.Group():
		return Multicast
	}
	return Unicast
}
