package capture

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
)

// vnetHeader is the length of struct virtio_net_hdr (include/uapi/linux/virtio_net.h), which a packet socket with
// PACKET_VNET_HDR puts before every frame, in the machine's byte order: flags, gso_type, hdr_len, gso_size,
// csum_start, csum_offset.
const vnetHeader = 10

// parseVnet reads the header of a captured frame. A kind of segmentation that the port does not offer (Prepare has
// switched them off) is reported as not ok.
func parseVnet(b []byte) (o l2bridge.Offload, ok bool) {
	o.NeedsChecksum = b[0]&unix.VIRTIO_NET_HDR_F_NEEDS_CSUM != 0
	o.ECN = b[1]&unix.VIRTIO_NET_HDR_GSO_ECN != 0
	o.HeaderLen = binary.NativeEndian.Uint16(b[2:])
	o.Size = binary.NativeEndian.Uint16(b[4:])
	o.Start = binary.NativeEndian.Uint16(b[6:])
	o.Offset = binary.NativeEndian.Uint16(b[8:])
	switch b[1] &^ unix.VIRTIO_NET_HDR_GSO_ECN {
	case unix.VIRTIO_NET_HDR_GSO_NONE:
	case unix.VIRTIO_NET_HDR_GSO_TCPV4:
		o.Kind = l2bridge.TCPv4
	case unix.VIRTIO_NET_HDR_GSO_TCPV6:
		o.Kind = l2bridge.TCPv6
	default:
		return o, false
	}
	return o, true
}

// putVnet writes the header of a frame to inject.
func putVnet(b []byte, o *l2bridge.Offload) {
	clear(b[:vnetHeader])
	if o.NeedsChecksum {
		b[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
		binary.NativeEndian.PutUint16(b[6:], o.Start)
		binary.NativeEndian.PutUint16(b[8:], o.Offset)
	}
	switch o.Kind {
	case l2bridge.TCPv4:
		b[1] = unix.VIRTIO_NET_HDR_GSO_TCPV4
	case l2bridge.TCPv6:
		b[1] = unix.VIRTIO_NET_HDR_GSO_TCPV6
	default:
		return
	}
	if o.ECN {
		b[1] |= unix.VIRTIO_NET_HDR_GSO_ECN
	}
	binary.NativeEndian.PutUint16(b[2:], o.HeaderLen)
	binary.NativeEndian.PutUint16(b[4:], o.Size)
}
