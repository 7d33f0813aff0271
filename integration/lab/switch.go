package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// Switch is an Ethernet switch: a bridge in the lab's underlay namespace.
type Switch struct {
	lab    *Lab
	name   string
	bridge *netlink.Bridge

	mu      sync.Mutex
	links   []*Link
	filters []*Filter
}

// Link is the cable between a host and a switch.
type Link struct {
	Host *Host
	// Port is the interface at the switch's end, in the underlay namespace; Interface the one at the host's end.
	Port, Interface string
	// MAC is the host's address on this link.
	MAC net.HardwareAddr
	// Addrs are the host's addresses on this link, as given.
	Addrs []netip.Prefix
	// Wire is set where the cable is a wire in user space.
	Wire *Wire

	sw    *Switch
	index int // of Port
}

// Switch adds a switch.
func (l *Lab) Switch(name string) (*Switch, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("sw%d", l.next())
	off := false
	s := &Switch{lab: l, name: name, bridge: &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &off}}
	nl := l.underlay.Netlink()
	// The switch itself has no addresses: it would answer, and speak.
	err := l.underlay.Do(func() error { return sysctl("ipv6/conf/default/disable_ipv6", "1") })
	if err == nil {
		err = nl.LinkAdd(s.bridge)
	}
	if err == nil {
		err = nl.LinkSetUp(s.bridge)
	}
	if err != nil {
		return nil, fmt.Errorf("switch %s: %w", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.switches = append(l.switches, s)
	return s, nil
}

// LinkOption changes how a host is linked to a switch.
type LinkOption func(*linkSpec)

type linkSpec struct {
	wire *WireSpec
	mtu  int
	rate uint64
}

// OverWire makes the cable a wire in user space, with the same spec for both directions; see Wire.Set.
func OverWire(spec WireSpec) LinkOption { return func(s *linkSpec) { s.wire = &spec } }

// MTU sets the link's largest packet, in bytes; 1500 by default.
func MTU(bytes int) LinkOption { return func(s *linkSpec) { s.mtu = bytes } }

// Rate limits what the host can send, in bits a second, by a token bucket of the kernel (tbf).
func Rate(bitsPerSecond uint64) LinkOption { return func(s *linkSpec) { s.rate = bitsPerSecond } }

// Link connects a host to a switch and gives it addresses there.
func (l *Lab) Link(h *Host, s *Switch, addrs []netip.Prefix, opts ...LinkOption) (*Link, error) {
	spec := linkSpec{mtu: 1500}
	for _, o := range opts {
		o(&spec)
	}
	n := l.next()
	link := &Link{
		Host: h, sw: s, Addrs: addrs,
		Port: fmt.Sprintf("p%d", n), Interface: h.nextInterface(),
		MAC: net.HardwareAddr{0x02, 0x1a, 0xb0, 0, byte(n >> 8), byte(n)},
	}
	var err error
	if spec.wire != nil {
		err = link.layWire(l, *spec.wire)
	} else {
		err = link.layVeth(l)
	}
	if err == nil {
		err = link.configure(spec)
	}
	if err != nil {
		return nil, fmt.Errorf("link %s to %s: %w", h.name, s.name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links = append(s.links, link)
	return link, s.applyFilters()
}

// layVeth makes the cable a veth pair: as fast as the kernel, with its segmentation offload.
func (k *Link) layVeth(l *Lab) error {
	host, err := os.Open(k.Host.Path())
	if err != nil {
		return err
	}
	defer host.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = k.Port
	return l.underlay.Netlink().LinkAdd(&netlink.Veth{
		LinkAttrs: attrs, PeerName: k.Interface, PeerHardwareAddr: k.MAC, PeerNamespace: netlink.NsFd(host.Fd()),
	})
}

// configure sets both ends of the cable up.
func (k *Link) configure(spec linkSpec) error {
	under, nl := k.sw.lab.underlay.Netlink(), k.Host.Netlink()
	port, err := under.LinkByName(k.Port)
	if err != nil {
		return err
	}
	k.index = port.Attrs().Index
	dev, err := nl.LinkByName(k.Interface)
	if err != nil {
		return err
	}
	err = errors.Join(
		under.LinkSetMTU(port, spec.mtu), under.LinkSetMaster(port, k.sw.bridge), under.LinkSetUp(port),
		nl.LinkSetMTU(dev, spec.mtu), nl.LinkSetUp(dev),
	)
	for _, a := range k.Addrs {
		err = errors.Join(err, addAddr(nl, dev, a))
	}
	if err == nil && spec.rate > 0 {
		err = nl.QdiscReplace(tokenBucket(dev.Attrs().Index, spec.rate))
	}
	return errors.Join(err, k.awaitCarrier())
}

// awaitCarrier waits until both ends of a veth pass frames. The kernel notices a carrier some time after the interfaces
// are set up, and a frame that the switch drops until then costs a second: until the host asks for its neighbour again.
func (k *Link) awaitCarrier() error {
	if k.Wire != nil {
		return nil // a TAP has its carrier from the start
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return Until(ctx, func(context.Context) error {
		port, err := k.sw.lab.underlay.Netlink().LinkByName(k.Port)
		if err != nil {
			return err
		}
		dev, err := k.Host.Netlink().LinkByName(k.Interface)
		if err != nil {
			return err
		}
		for _, a := range []*netlink.LinkAttrs{port.Attrs(), dev.Attrs()} {
			if a.OperState != netlink.OperUp {
				return fmt.Errorf("%s is %s", a.Name, a.OperState)
			}
		}
		return nil
	})
}

// tokenBucket lets through bits a second on average, 20 ms of them at once, and queues up to 50 ms.
func tokenBucket(index int, bits uint64) *netlink.Tbf {
	bytesPerSecond := bits / 8
	burst := max(bytesPerSecond/50, 64<<10+64) // never less than one segmentation-offloaded packet
	return &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       bytesPerSecond,
		Buffer:     netlink.Xmittime(bytesPerSecond, uint32(burst)),
		Limit:      uint32(burst + bytesPerSecond/20),
	}
}

// addAddr adds an address that can be used at once.
func addAddr(nl *netlink.Handle, dev netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = 0x02 // IFA_F_NODAD
	}
	if err := nl.AddrAdd(dev, a); err != nil {
		return fmt.Errorf("address %s: %w", p, err)
	}
	return nil
}

// nextInterface names the host's interfaces eth0, eth1, …
func (h *Host) nextInterface() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.interfaces++
	return fmt.Sprintf("eth%d", h.interfaces-1)
}

// AddRoute sends what is for a prefix to a gateway; the prefix may be 0.0.0.0/0 or ::/0.
func (h *Host) AddRoute(to netip.Prefix, via netip.Addr) error {
	r := &netlink.Route{
		Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}, Gw: via.AsSlice(),
	}
	if err := h.Netlink().RouteReplace(r); err != nil {
		return fmt.Errorf("%s: route %s via %s: %w", h.name, to, via, err)
	}
	return nil
}

// SetUp unplugs the cable (false) and plugs it in again (true), at the switch's end.
func (k *Link) SetUp(up bool) error {
	nl := k.sw.lab.underlay.Netlink()
	port, err := nl.LinkByName(k.Port)
	if err != nil {
		return err
	}
	if up {
		return nl.LinkSetUp(port)
	}
	return nl.LinkSetDown(port)
}

// PortIndex is the index of Port in the underlay namespace: what the host sends is seen there, once.
func (k *Link) PortIndex() int { return k.index }

// close removes the bridge at once; the namespace itself may be held by somebody's descriptor for a while.
func (s *Switch) close() error {
	if err := s.lab.underlay.Netlink().LinkDel(s.bridge); err != nil {
		return fmt.Errorf("switch %s: %w", s.name, err)
	}
	return nil
}
