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

// vlanOf finds the tag in the control message of a captured frame.
func vlanOf(control []byte, n int) (tci, tpid uint16, ok bool) {
	const header = unix.SizeofCmsghdr
	if n < header+int(unsafe.Sizeof(unix.TpacketAuxdata{})) || n > len(control) {
		return 0, 0, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	if h.Level != unix.SOL_PACKET || h.Type != unix.PACKET_AUXDATA {
		return 0, 0, false
	}
	aux := (*unix.TpacketAuxdata)(unsafe.Pointer(&control[unix.CmsgLen(0)]))
	if aux.Status&tpStatusVLANValid == 0 {
		return 0, 0, false
	}
	if aux.Status&tpStatusVLANTPIDValid == 0 {
		return aux.Vlan_tci, l2bridge.EtherTypeVLAN, true
	}
	return aux.Vlan_tci, aux.Vlan_tpid, true
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
