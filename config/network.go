package config

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weavewg/weavewg/topology"
)

// Route is a route of the host, given to Load so that a subnet on top of it is noticed.
type Route struct {
	Prefix netip.Prefix
	Device string
}

// networks checks the list of networks. The warnings are about subnets that overlap routes of the host: harmless, as
// overlay frames never touch host routes, unless the host itself joins.
func (p *parser) networks(mesh string, list []rawNetwork) (networks []Network, warnings []string) {
	if len(list) > topology.MaxNetworks {
		p.fault("networks", "networks: %d entries, at most %d", len(list), topology.MaxNetworks)
		return nil, nil
	}
	for i, r := range list {
		path := indexed("networks", i)
		n := Network{Name: r.Name, VNI: p.vni(path+".vni", mesh, r), MTU: p.mtu(path+".mtu", r.MTU)}
		if r.Name == "" {
			p.fault(path, "%s: give the network a name", path)
		} else {
			p.name(path+".name", r.Name)
		}
		n.Subnet = p.subnet(path+".subnet", r.Subnet)
		n.Address = p.address(path+".address", r.Address, n.Subnet)
		for j, other := range networks {
			p.against(path, n, indexed("networks", j), other)
		}
		warnings = append(warnings, p.overlaps(path, n)...)
		networks = append(networks, n)
	}
	return networks, warnings
}

func (p *parser) vni(path, mesh string, r rawNetwork) uint32 {
	switch v := r.VNI.(type) {
	case nil:
		return AutoVNI(mesh, r.Name)
	case int:
		if v < 1 || v > maxVNI {
			p.fault(path, "%s: %d is not in 1..%d", path, v, maxVNI)
			return 0
		}
		return uint32(v)
	case string:
		if v != "auto" {
			p.fault(path, "%s: %q is neither auto nor a number", path, clip(v))
			return 0
		}
	}
	return AutoVNI(mesh, r.Name)
}

func (p *parser) mtu(path string, typed any) int {
	switch v := typed.(type) {
	case int:
		switch {
		case v < minMTU:
			p.fault(path, "%s %d is below %d (IPv6 minimum)", path, v, minMTU)
		case v > maxMTU:
			p.fault(path, "%s %d is above %d (what fits a datagram beside WireGuard and VXLAN)", path, v, maxMTU)
		default:
			return v
		}
	case string:
		if v != "auto" {
			p.fault(path, "%s: %q is neither auto nor a number", path, clip(v))
		}
	}
	return 0
}

// defaultSubnet is 10.32.0.0/12, as Weave's.
var defaultSubnet = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 32}), 12)

func (p *parser) subnet(path string, typed *string) netip.Prefix {
	if typed == nil {
		return defaultSubnet
	}
	s, err := prefix(*typed)
	switch {
	case err != nil:
		p.fault(path, "%s: %s", path, err)
	case s != s.Masked():
		p.fault(path, "%s %s has host bits; use %s", path, s, s.Masked())
	case s.Addr().BitLen()-s.Bits() < 2:
		p.fault(path, "%s %s is too small: at least two free addresses, so /%d", path, s, s.Addr().BitLen()-2)
	case s.Bits() == 0 || !usable(s.Addr()):
		p.fault(path, "%s %s is not a range that hosts may use, such as %s", path, s, defaultSubnet)
	default:
		return s
	}
	return netip.Prefix{}
}

func (p *parser) address(path, typed string, subnet netip.Prefix) netip.Prefix {
	switch typed {
	case "":
		return netip.Prefix{}
	case "auto":
		p.fault(path, "%s: auto needs ipam, which is not yet in this version; write an address and mask, such as 10.32.0.1/12", path)
		return netip.Prefix{}
	}
	if a, err := netip.ParseAddr(typed); err == nil {
		bits := a.BitLen()
		if subnet.Contains(a) {
			bits = subnet.Bits()
		}
		p.fault(path, "%s %s has no mask; write %s/%d", path, a, a, bits)
		return netip.Prefix{}
	}
	a, err := Address(typed)
	if err != nil {
		p.fault(path, "%s: %s", path, err)
		return netip.Prefix{}
	}
	return a
}

// Address reads an address with its mask that a host can have, such as 10.32.0.1/12.
func Address(s string) (netip.Prefix, error) {
	a, err := prefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, err
	case !usable(a.Addr()):
		return netip.Prefix{}, fmt.Errorf("%s is not an address that a host can have", a)
	case a.Addr().BitLen()-a.Bits() >= 2 && a == a.Masked():
		return netip.Prefix{}, fmt.Errorf("%s is the network's own address; give one inside it", a)
	case a.Addr().Is4() && a.Bits() < 31 && a.Addr() == last(a):
		return netip.Prefix{}, fmt.Errorf("%s is the broadcast address of its network", a)
	}
	return a, nil
}

// prefix reads CIDR notation and says what is wrong with it.
func prefix(s string) (netip.Prefix, error) {
	a, err := netip.ParsePrefix(s)
	if err == nil {
		return a, nil
	}
	address, bits, slash := strings.Cut(s, "/")
	if addr, e := netip.ParseAddr(address); e == nil && slash {
		return a, fmt.Errorf("%q: /%s is no mask of an IPv%d address: 0 to %d", clip(s), clip(bits), 4+2*b2i(addr.Is6()), addr.BitLen())
	}
	return a, fmt.Errorf("%q is not an address with a mask, such as 10.32.0.0/12", clip(s))
}

// against compares a network with one before it.
func (p *parser) against(path string, n Network, otherPath string, other Network) {
	switch {
	case n.Name != "" && n.Name == other.Name:
		p.fault(path+".name", "%s.name: %q is %s already", path, n.Name, otherPath)
	case n.VNI != 0 && n.VNI == other.VNI:
		p.fault(path+".vni", "%s.vni: %d is the vni of network %q already; give one of them another", path, n.VNI, other.Name)
	}
	if n.Address.IsValid() && other.Address.IsValid() && n.Address.Overlaps(other.Address) {
		p.fault(path+".address", "%s.address %s overlaps %s.address %s: the host could not tell the two networks apart", path, n.Address, otherPath, other.Address)
	}
}

// overlaps compares a network with the host's routes.
func (p *parser) overlaps(path string, n Network) (warnings []string) {
	for _, r := range p.routes {
		switch {
		case r.Prefix.Bits() == 0:
		case n.Address.IsValid() && n.Address.Overlaps(r.Prefix):
			p.fault(path+".address", "%s.address %s overlaps route %s dev %s", path, n.Address, r.Prefix, r.Device)
			return nil
		case n.Address.IsValid() && n.Subnet.IsValid() && n.Subnet.Overlaps(r.Prefix):
			p.fault(path+".subnet", "%s.subnet %s overlaps route %s dev %s, and the host itself joins this network", path, n.Subnet, r.Prefix, r.Device)
			return nil
		case n.Subnet.IsValid() && n.Subnet.Overlaps(r.Prefix):
			return []string{fmt.Sprintf("%s.subnet %s overlaps route %s dev %s: harmless until the host itself joins (expose)", path, n.Subnet, r.Prefix, r.Device)}
		}
	}
	return nil
}

// usable says that hosts can have addresses around a.
func usable(a netip.Addr) bool {
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.IsLinkLocalUnicast() && !a.Is4In6() && a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// last is the highest address of an IPv4 prefix.
func last(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for bit := p.Bits(); bit < 32; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	return netip.AddrFrom4(a)
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
