package lab

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// NATKind is what a NAT box does with UDP, in the words of RFC 3489, section 5. NATKind.Behaviour says it in those of
// RFC 4787.
type NATKind uint8

// The kinds, from the easiest to traverse to the hardest.
const (
	FullCone          NATKind = iota // one public port for an inside port, open to everybody
	AddressRestricted                // open to addresses that were sent to
	PortRestricted                   // open to addresses and ports that were sent to
	Symmetric                        // another, random public port for every address and port that is sent to
)

// NATKinds are all kinds.
func NATKinds() []NATKind { return []NATKind{FullCone, AddressRestricted, PortRestricted, Symmetric} }

// String names the kind.
func (k NATKind) String() string {
	names := []string{"full cone", "address restricted", "port restricted", "symmetric"}
	if int(k) >= len(names) {
		return fmt.Sprintf("NAT kind %d", k)
	}
	return names[k]
}

// Behaviour is how a box of this kind looks to who measures it.
func (k NATKind) Behaviour() Behaviour {
	return map[NATKind]Behaviour{
		FullCone:          {EndpointIndependent, EndpointIndependent},
		AddressRestricted: {EndpointIndependent, AddressDependent},
		PortRestricted:    {EndpointIndependent, AddressAndPortDependent},
		Symmetric:         {AddressAndPortDependent, AddressAndPortDependent},
	}[k]
}

// The box keeps its own books of UDP, as connection tracking alone maps independently of the endpoint only until two
// inside hosts meet at one destination with one source port. Entries live for the UDP timeout, as connections do, and
// every packet that passes renews both. nft 1.0.6 aborts where it should print rules that copy from map to map.
const (
	mappings = "mappings" // inside address and port to public port
	owners   = "owners"   // public port to inside address and port
	talked   = "talked"   // inside address and port, and the remote address (and port) that they sent to
)

// The public ports of mappings, handed out in order: 40,000 mappings later one comes again. Nothing else on the box
// uses them.
const firstPort, ports = 20_000, 40_000

var (
	endpoint = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	port     = nftables.TypeInetService
)

// natRules are the rules of a NAT box.
type natRules struct {
	kind            NATKind
	inside, outside *Link
	site            netip.Prefix // inside
	public          netip.Addr
	hairpin         bool
	timeout         time.Duration
}

// build writes the table.
func (n natRules) build(t table) error {
	if n.kind != Symmetric {
		if err := n.addBooks(t); err != nil {
			return err
		}
		n.addMapping(t)
	}
	t.translate("leave", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, n.leaving()...)
	t.filter("forward", nftables.ChainHookForward, nftables.ChainPriorityFilter, n.forwarding()...)
	// What nobody inside asked for ends here, without an answer.
	t.filter("input", nftables.ChainHookInput, nftables.ChainPriorityFilter,
		rule{}.eq(daddr, n.public.AsSlice()).notProto(unix.IPPROTO_ICMP).state(expr.CtStateBitNEW).drop())
	return nil
}

// books are the names of the sets and maps that rules of this kind write.
func (n natRules) books() []string {
	switch n.kind {
	case Symmetric:
		return nil
	case FullCone:
		return []string{mappings, owners}
	default:
		return []string{mappings, owners, talked}
	}
}

func (n natRules) addBooks(t table) error {
	for _, name := range n.books() {
		s := &nftables.Set{Table: t.Table, Name: name, HasTimeout: true, Timeout: n.timeout, Dynamic: true, Size: 1 << 16}
		switch name {
		case mappings:
			s.IsMap, s.KeyType, s.DataType = true, endpoint, port
		case owners:
			s.IsMap, s.KeyType, s.DataType = true, port, endpoint
		case talked:
			s.KeyType = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService, nftables.TypeIPAddr)
			if n.kind == PortRestricted {
				s.KeyType = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService,
					nftables.TypeIPAddr, nftables.TypeInetService)
			}
		}
		if err := t.conn.AddSet(s, nil); err != nil {
			return err
		}
	}
	return nil
}

// remote is what of a remote endpoint the box's filter looks at.
func (n natRules) remote(address, port field) []field {
	if n.kind == PortRestricted {
		return []field{address, port}
	}
	return []field{address}
}

// addMapping keeps the books for what leaves, before any address is changed, and sends what comes to a public port on
// to its owner. Whether it may pass is decided in forwarding.
func (n natRules) addMapping(t table) {
	var outgoing []rule
	if n.kind != FullCone {
		outgoing = append(outgoing, rule{}.load(key, saddr, sport).load(key+2, n.remote(daddr, dport)...).update(talked, key, 0))
	}
	outgoing = append(outgoing, renew(saddr, sport).ret(), rule{
		// The generator's number is of 32 bits in the host's order, a port of 16 in the network's.
		&expr.Numgen{Register: data, Modulus: ports, Type: unix.NFT_NG_INCREMENTAL, Offset: firstPort},
		&expr.Byteorder{SourceRegister: data, DestRegister: data, Op: expr.ByteorderHton, Len: 2, Size: 2},
	}.load(key, saddr, sport).update(mappings, key, data), renew(saddr, sport)) // read again: a racing packet may have won
	t.called("outgoing", outgoing...)
	t.filter("track", nftables.ChainHookPrerouting, nftables.ChainPriorityMangle,
		rule{}.from(n.inside).proto(unix.IPPROTO_UDP).notWithin(daddr, n.site).jump("outgoing"))

	arrive := func(from *Link) rule {
		return append(rule{}.from(from).eq(daddr, n.public.AsSlice()).proto(unix.IPPROTO_UDP).load(key, dport).
			find(owners, key, data),
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: data, RegProtoMin: data + 1})
	}
	rules := []rule{arrive(n.outside)}
	if n.hairpin {
		rules = append(rules, arrive(n.inside))
	}
	t.translate("arrive", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, rules...)
}

// renew starts the timeout of an inside endpoint's mapping anew; without one the rule ends.
func renew(address, port field) rule {
	return rule{}.load(key, address, port).find(mappings, key, data).update(mappings, key, data).update(owners, data, key)
}

// leaving gives packets the public address, and UDP its mapping's port.
func (n natRules) leaving() []rule {
	if n.kind == Symmetric {
		return []rule{
			append(rule{}.to(n.outside).proto(unix.IPPROTO_UDP), &expr.Masq{Random: true, FullyRandom: true}),
			append(rule{}.to(n.outside), &expr.Masq{}),
		}
	}
	mapped := func(r rule) rule {
		return append(r.proto(unix.IPPROTO_UDP).load(key, saddr, sport).find(mappings, key, data).value(other, n.public.AsSlice()),
			&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: other, RegProtoMin: data})
	}
	rules := []rule{mapped(rule{}.to(n.outside))}
	if n.hairpin {
		rules = append(rules, mapped(rule{}.to(n.inside).status(statusDNAT)))
	}
	return append(rules, append(rule{}.to(n.outside), &expr.Masq{}))
}

// statusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h: the connection's destination was changed.
const statusDNAT = 1 << 5

// forwarding is the box's filter.
func (n natRules) forwarding() []rule {
	known := expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED
	rules := []rule{rule{}.state(expr.CtStateBitINVALID).drop()}
	if n.kind == Symmetric {
		return append(rules, rule{}.from(n.outside).state(known).accept(), rule{}.from(n.outside).drop())
	}
	udp := func() rule { return rule{}.from(n.outside).proto(unix.IPPROTO_UDP) }
	rules = append(rules,
		append(udp().state(known), renew(daddr, dport)...),
		rule{}.from(n.outside).state(known).accept())
	// A first packet has passed "arrive", or nobody inside has that port.
	invited := func() rule {
		r := udp().status(statusDNAT)
		if n.kind == FullCone {
			return r
		}
		return r.load(key, daddr, dport).load(key+2, n.remote(saddr, sport)...).has(talked, key)
	}
	rules = append(rules, append(invited(), renew(daddr, dport)...), invited().accept(), rule{}.from(n.outside).drop())
	if !n.hairpin || n.kind == FullCone {
		return rules
	}
	// Hairpins pass the same filter, which sees the sender's public endpoint.
	turn := func() rule {
		return rule{}.from(n.inside).to(n.inside).proto(unix.IPPROTO_UDP).status(statusDNAT).state(expr.CtStateBitNEW)
	}
	allowed := turn().load(key, daddr, dport).value(key+2, n.public.AsSlice())
	if n.kind == PortRestricted {
		allowed = allowed.load(other, saddr, sport).find(mappings, other, key+3)
	}
	return append(rules, allowed.has(talked, key).accept(), turn().drop())
}
