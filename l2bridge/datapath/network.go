package datapath

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/capture"
	"github.com/weavewg/weavewg/learner"
)

// Network is one isolated layer-2 segment whose frames are to be carried.
type Network struct {
	Name    string
	VNI     uint32
	Port    string // overlay port of the bridge; its offloads are limited to what a capture can carry
	Capture string // the other end of that veth
	MTU     int    // bytes behind the Ethernet header; longer frames are dropped, 0: none are
}

// network is a Network that is being carried.
type network struct {
	Network
	stop    func() // ends its capture and waits for it
	members atomic.Pointer[l2bridge.Members]
	port    atomic.Pointer[openPort] // nil while its interface is gone

	mu    sync.Mutex // held for a lookup or a sight, by one of two goroutines
	table *learner.Table
}

type openPort struct{ capture.Port }

// fits says whether a frame is no longer than the interfaces of the network take: the MTU, and one C-tag beyond it
// (net/packet/af_packet.c, packet_extra_vlan_len_allowed).
func (n *network) fits(frame []byte, length int) bool {
	most := l2bridge.EthernetHeader + n.MTU
	if frame[12] == l2bridge.EtherTypeVLAN>>8 && frame[13] == l2bridge.EtherTypeVLAN&0xff {
		most += l2bridge.VLANTag
	}
	return n.MTU <= 0 || length <= most
}

// decide learns the source of a frame that came from the bridge, and decides about its destination.
func (n *network) decide(now time.Time, k *l2bridge.Key) l2bridge.Verdict {
	members := n.members.Load()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.table.Learn(now, k.Src, learner.Local)
	return l2bridge.Decide(now, k, n.table, members)
}

// bind notes the IP addresses that a frame tells.
func (n *network) bind(now time.Time, found []l2bridge.Sighting) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, s := range found {
		n.table.Bind(now, s.MAC, s.IP, s.From)
	}
}
