package doctor

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	whatWireGuard = "kernel WireGuard"
	whatTUN       = "/dev/net/tun"
)

// scratchProbes make things in the namespace of their thread, through h.
func scratchProbes(h *netlink.Handle) []probe {
	return []probe{
		{
			what: whatWireGuard, lacking: Missing, have: "packets are encrypted in the kernel", lack: "wireguard-go runs in user space, one process a slot",
			remedy: "modprobe wireguard; Linux 5.6 or later",
			try: func() (string, error) {
				return "available", addLink(h, &netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "wg"}})
			},
		},
		{
			what: whatTUN, lacking: Missing, have: "WireGuard can run in user space", lack: "no WireGuard in user space", remedy: "modprobe tun; in a container: --device /dev/net/tun",
			try: func() (string, error) { return tun(0) },
		},
		{
			what: "TUN with UDP segmentation", lacking: Missing, have: "large UDP bursts cross user space whole", lack: "UDP crosses WireGuard in user space one datagram at a time", remedy: "Linux 6.2 or later",
			try: func() (string, error) { return tun(unix.TUN_F_CSUM | unix.TUN_F_USO4 | unix.TUN_F_USO6) },
		},
		{
			what: "bridge", lacking: Fatal, have: "networks are bridges", lack: "weavewg cannot run: a network is a bridge", remedy: "modprobe bridge",
			try: func() (string, error) {
				return "available", addLink(h, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br"}})
			},
		},
		{
			what: "veth", lacking: Fatal, have: "ports are veth pairs", lack: "weavewg cannot run: ports are veth pairs", remedy: "modprobe veth",
			try: func() (string, error) {
				return "available", addLink(h, &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ve"}, PeerName: "vf"})
			},
		},
		{
			what: "AF_PACKET with offload headers", lacking: Fatal, have: "segments of 64 kB are captured whole", lack: "weavewg cannot capture frames", remedy: "modprobe af_packet; CAP_NET_RAW",
			try: packetSocket,
		},
		{
			what: "UDP segmentation (UDP_SEGMENT)", lacking: Warn, have: "many datagrams a system call", lack: "one datagram a system call: slower", remedy: "Linux 4.18 or later",
			try: func() (string, error) { return udpOption(unix.UDP_SEGMENT, 1200) },
		},
		{
			what: "UDP coalescing (UDP_GRO)", lacking: Warn, have: "many datagrams a system call", lack: "one datagram a system call: slower", remedy: "Linux 5.0 or later",
			try: func() (string, error) { return udpOption(unix.UDP_GRO, 1) },
		},
		{
			what: "VXLAN", lacking: Missing, have: "the kernel datapath can carry frames", lack: "only the pcap datapath", remedy: "modprobe vxlan",
			try: func() (string, error) {
				return "available", addLink(h, &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx"}, VxlanId: 1, Port: 4789})
			},
		},
		{
			what: "tc with BPF", lacking: Missing, have: "the kernel's fast path is possible", lack: "no fast path in the kernel", remedy: "kernel with CONFIG_NET_CLS_BPF, CONFIG_NET_SCH_INGRESS and CONFIG_BPF_SYSCALL",
			try: func() (string, error) { return trafficControl(h) },
		},
		{
			what: "nftables", lacking: Warn, have: "strange packets out of tunnels are dropped by rules too", lack: "no second guard behind AllowedIPs and the VXLAN checks", remedy: "modprobe nf_tables",
			try: func() (string, error) {
				c, err := nftables.New()
				if err != nil {
					return "", reason(err)
				}
				_, err = c.ListTables()
				return "available", reason(err)
			},
		},
	}
}

// addLink makes an interface; the namespace's end removes it.
func addLink(h *netlink.Handle, l netlink.Link) error { return reason(h.LinkAdd(l)) }

// reason says in words what the kernel's answer means here.
func reason(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return errors.New("the kernel has none")
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return errors.New("not permitted")
	}
	return err
}

// tun opens a TUN device with virtio headers, as wireguard-go does, and asks for offloads.
func tun(offloads int) (string, error) {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", reason(err)
	}
	defer f.Close()
	request, err := unix.NewIfreq("tun%d")
	if err != nil {
		return "", err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, request); err != nil {
		return "", reason(err)
	}
	if offloads != 0 {
		if err := unix.IoctlSetInt(int(f.Fd()), unix.TUNSETOFFLOAD, offloads); err != nil {
			return "", errors.New("the kernel has none")
		}
	}
	return "available", nil
}

// packetSocket opens what the capture needs.
func packetSocket() (string, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", reason(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return "", fmt.Errorf("no offload headers: %w", err)
	}
	return "available", nil
}

// udpOption asks a UDP socket for an option.
func udpOption(option, value int) (string, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", reason(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, option, value); err != nil {
		return "", errors.New("the kernel has none")
	}
	return "available", nil
}

// trafficControl loads a program that lets everything pass and hangs it on an interface.
func trafficControl(h *netlink.Handle) (string, error) {
	fd, err := passProgram()
	if err != nil {
		return "", fmt.Errorf("load a program: %w", reason(err))
	}
	defer unix.Close(fd)
	if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "tca"}, PeerName: "tcb"}); err != nil {
		return "", reason(err)
	}
	link, err := h.LinkByName("tca")
	if err != nil {
		return "", err
	}
	qdisc := &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}
	if err := h.QdiscAdd(qdisc); err != nil {
		return "", fmt.Errorf("clsact: %w", reason(err))
	}
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_EGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
		Fd:          fd, Name: "doctor", DirectAction: true,
	}
	if err := h.FilterAdd(filter); err != nil {
		return "", fmt.Errorf("attach a program: %w", reason(err))
	}
	return "available", nil
}

// programLoad is the start of union bpf_attr for BPF_PROG_LOAD (include/uapi/linux/bpf.h).
type programLoad struct {
	kind, count  uint32
	instructions uint64
	license      uint64
	logLevel     uint32
	logSize      uint32
	logBuffer    uint64
	version      uint32
	flags        uint32
}

// passProgram loads `return TC_ACT_OK` as a classifier.
func passProgram() (int, error) {
	program := &[2]uint64{0xb7, 0x95} // r0 = 0; exit
	license := &[4]byte{'G', 'P', 'L', 0}
	var pins runtime.Pinner // the kernel reads them through numbers that the garbage collector does not see
	defer pins.Unpin()
	pins.Pin(program)
	pins.Pin(license)
	attr := programLoad{
		kind: unix.BPF_PROG_TYPE_SCHED_CLS, count: uint32(len(*program)),
		instructions: uint64(uintptr(unsafe.Pointer(program))), license: uint64(uintptr(unsafe.Pointer(license))),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}
