package bench

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/weavewg/weavewg/integration/lab"
)

// Pair is two hosts on one cable: the underlay of one contender.
type Pair struct {
	A, B *lab.Host
	// AddrA and AddrB are their underlay addresses.
	AddrA, AddrB netip.Addr

	lab *lab.Lab
}

// Cable is the interface at either end of a pair's cable; its MTU is 1500.
const Cable = "cable"

// NewPair makes two hosts and a veth between them.
func NewPair(l *lab.Lab, name string) (*Pair, error) {
	p := &Pair{lab: l, AddrA: netip.MustParseAddr("192.0.2.1"), AddrB: netip.MustParseAddr("192.0.2.2")}
	var err error
	if p.A, err = l.Host(name + "-a"); err != nil {
		return nil, err
	}
	if p.B, err = l.Host(name + "-b"); err != nil {
		return nil, err
	}
	err = p.A.Do(func() error {
		here, err := netns.Get()
		if err != nil {
			return err
		}
		defer here.Close()
		there, err := netns.GetFromPath(p.B.Path())
		if err != nil {
			return err
		}
		defer there.Close()
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: Cable, MTU: 1500},
			PeerName:  Cable, PeerNamespace: netlink.NsFd(there),
		})
	})
	if err != nil {
		return nil, fmt.Errorf("cable of %s: %w", name, err)
	}
	return p, errors.Join(
		addAddress(p.A.Space, Cable, netip.PrefixFrom(p.AddrA, 24)),
		addAddress(p.B.Space, Cable, netip.PrefixFrom(p.AddrB, 24)))
}

// addAddress gives an interface an address and brings it up.
func addAddress(s *lab.Space, name string, prefix netip.Prefix) error {
	nl := s.Netlink()
	link, err := nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	addr, err := netlink.ParseAddr(prefix.String())
	if err != nil {
		return err
	}
	if err := nl.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("%s: %s: %w", name, prefix, err)
	}
	return nl.LinkSetUp(link)
}

// offload picks, by its kernel name (ethtool -k), what joins and cuts packets.
func offload(feature string) bool {
	return strings.HasPrefix(feature, "tx-") && strings.HasSuffix(feature, "-segmentation") || strings.HasPrefix(feature, "rx-gro")
}

// SetOffloads switches segmentation and receive offloads at both ends of the cable: with them whole bursts cross it
// at once, without them every packet by itself.
func (p *Pair) SetOffloads(on bool) error {
	for _, host := range []*lab.Host{p.A, p.B} {
		err := host.Do(func() error {
			tool, err := ethtool.NewEthtool()
			if err != nil {
				return err
			}
			defer tool.Close()
			features, err := tool.FeaturesWithState(Cable)
			if err != nil {
				return err
			}
			change := map[string]bool{}
			for name, state := range features {
				// rx-gro-list and rx-udp-gro-forwarding are off where nobody asked for them.
				if offload(name) && state.Available && name != "rx-gro-list" {
					change[name] = on
				}
			}
			return tool.Change(Cable, change)
		})
		if err != nil {
			return fmt.Errorf("%s: offloads: %w", host.Name(), err)
		}
	}
	return nil
}

// Fragments counts the IP fragments that both hosts have made so far.
func (p *Pair) Fragments() (uint64, error) {
	var sum uint64
	for _, host := range []*lab.Host{p.A, p.B} {
		err := host.Do(func() error {
			snmp, err := os.ReadFile("/proc/thread-self/net/snmp")
			if err != nil {
				return err
			}
			made, err := snmpCounter(string(snmp), "Ip", "FragCreates")
			sum += made
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("%s: %w", host.Name(), err)
		}
	}
	return sum, nil
}

// snmpCounter reads /proc/net/snmp: for each protocol a line of names and a line of values.
func snmpCounter(text, protocol, name string) (uint64, error) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != protocol+":" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, field := range names {
			if field == name && i < len(fields) {
				var value uint64
				_, err := fmt.Sscan(fields[i], &value)
				return value, err
			}
		}
	}
	return 0, fmt.Errorf("no counter %s of %s", name, protocol)
}
