package capture

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
)

// The kernel takes the outermost VLAN tag out of every frame before packet sockets see it, also where no hardware did
// (net/core/dev.c, skb_vlan_untag in __netif_receive_skb_core), and tells it in the auxiliary data.

const (
	tpStatusVLANValid     = 1 << 4 // TP_STATUS_VLAN_VALID
	tpStatusVLANTPIDValid = 1 << 6 // TP_STATUS_VLAN_TPID_VALID
)

// auxdata is the control message PACKET_AUXDATA.
type auxdata struct {
	unix.Cmsghdr
	unix.TpacketAuxdata
	_ [4]byte // to CMSG_SPACE
}

// vlan returns the tag that was taken out of a frame, whose control message has n bytes.
func (a *auxdata) vlan(n int) (tci, tpid uint16, ok bool) {
	if n < unix.CmsgLen(int(unsafe.Sizeof(a.TpacketAuxdata))) || a.Level != unix.SOL_PACKET || a.Type != unix.PACKET_AUXDATA ||
		a.Status&tpStatusVLANValid == 0 {
		return 0, 0, false
	}
	if a.Status&tpStatusVLANTPIDValid == 0 {
		return a.Vlan_tci, l2bridge.EtherTypeVLAN, true
	}
	return a.Vlan_tci, a.Vlan_tpid, true
}

// retag puts the tag back between the addresses and the type of the frame that starts tagRoom into slot, and moves
// what the metadata points to by as much.
func retag(slot []byte, tci, tpid uint16, o *l2bridge.Offload) []byte {
	copy(slot[:12], slot[tagRoom:tagRoom+12])
	binary.BigEndian.PutUint16(slot[12:], tpid)
	binary.BigEndian.PutUint16(slot[14:], tci)
	if o.NeedsChecksum {
		o.Start += l2bridge.VLANTag
	}
	if o.Kind != l2bridge.Whole {
		o.HeaderLen += l2bridge.VLANTag
	}
	return slot
}
