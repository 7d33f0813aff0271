package wgdev

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// What may come out of a tunnel for this node's own stack.
const (
	vxlanPort   = 4789 // RFC 7348
	echoRequest = 128  // RFC 4443
	echoReply   = 129
)

const tableName = "weavewg"

// guard keeps an nftables table in the overlay namespace: nothing is forwarded, and from a tunnel only VXLAN and echo
// for the node's own address reach it. It adds to what holds anyway (no forwarding, nobody listens): a flush opens
// nothing by itself.
type guard struct {
	overlay *os.File
	problem error
}

func newGuard(overlay *os.File) guard { return guard{overlay: overlay} }

// keep puts the table in place unless it is as it should be. A kernel without nftables is a problem, no failure.
func (g *guard) keep(own netip.Addr) {
	if !own.IsValid() {
		return
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(g.overlay.Fd())))
	if err == nil && !g.holds(c, own) {
		err = install(c, own)
	}
	if err != nil {
		g.problem = fmt.Errorf("guard rules of the overlay namespace: %w", err)
		return
	}
	g.problem = nil
}

// holds compares what we wrote beside each rule; who changes a rule cannot keep that.
func (*guard) holds(c *nftables.Conn, own netip.Addr) bool {
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	for name, want := range map[string][][]expr.Any{"input": inputRules(own), "forward": forwardRules()} {
		chain, err := c.ListChain(table, name)
		if err != nil || chain.Policy == nil || *chain.Policy != nftables.ChainPolicyDrop {
			return false
		}
		rules, err := c.GetRules(table, chain)
		if err != nil || len(rules) != len(want) {
			return false
		}
		for i, r := range rules {
			if string(r.UserData) != mark(i, own) {
				return false
			}
		}
	}
	return true
}

func mark(i int, own netip.Addr) string { return fmt.Sprintf("weavewg %d %s", i, own) }

// install replaces the table in one transaction.
func install(c *nftables.Conn, own netip.Addr) error {
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	c.AddTable(table) // so that deleting it succeeds
	c.DelTable(table)
	c.AddTable(table)
	drop := nftables.ChainPolicyDrop
	input := c.AddChain(&nftables.Chain{
		Name: "input", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput,
		Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	forward := c.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward,
		Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	for i, exprs := range inputRules(own) {
		c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: exprs, UserData: []byte(mark(i, own))})
	}
	for i, exprs := range forwardRules() {
		c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: exprs, UserData: []byte(mark(i, own))})
	}
	err := c.Flush()
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("this kernel has no nftables (inet tables): %w", err)
	}
	return err
}

// inputRules are, in nft's words:
//
//	iifname "lo" accept
//	iifname "wg-*" ip6 daddr OWN udp dport 4789 accept
//	iifname "wg-*" ip6 daddr OWN meta l4proto udp frag frag-off != 0 accept
//	iifname "wg-*" ip6 daddr OWN icmpv6 type echo-request accept    (and echo-reply)
//
// This hook sees IPv6 fragments before they are put together. A VLAN-tagged frame of the full MTU comes in two: later
// fragments name no port, and without a first one, which does, nothing comes of them.
func inputRules(own netip.Addr) [][]expr.Any {
	return [][]expr.Any{
		{load(expr.MetaKeyIIFNAME), equal([]byte("lo\x00")), accept()},
		fromTunnel(own, unix.IPPROTO_UDP, transport(2, 2), equal([]byte{vxlanPort >> 8, vxlanPort & 0xff})),
		fromTunnel(own, unix.IPPROTO_UDP, laterFragment()...),
		fromTunnel(own, unix.IPPROTO_ICMPV6, transport(0, 1), equal([]byte{echoRequest})),
		fromTunnel(own, unix.IPPROTO_ICMPV6, transport(0, 1), equal([]byte{echoReply})),
	}
}

// forwardRules let through what is no forwarding but a bridge's own work: br_netfilter, which Docker may load at any
// time, shows bridged packets to this chain as well (nft: iifname "br-*" accept).
func forwardRules() [][]expr.Any {
	return [][]expr.Any{{load(expr.MetaKeyIIFNAME), equal([]byte("br-")), accept()}}
}

func fromTunnel(own netip.Addr, protocol byte, more ...expr.Any) []expr.Any {
	rule := []expr.Any{
		load(expr.MetaKeyIIFNAME), equal([]byte("wg-")), // a prefix: shorter than the register
		load(expr.MetaKeyNFPROTO), equal([]byte{unix.NFPROTO_IPV6}),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 24, Len: 16}, // destination address
		equal(own.AsSlice()),
		load(expr.MetaKeyL4PROTO), equal([]byte{protocol}),
	}
	return append(append(rule, more...), accept())
}

func load(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: 1} }

func transport(offset, length uint32) expr.Any {
	return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: length}
}

// laterFragment matches a fragment header (RFC 8200, 4.5) whose offset is not zero.
func laterFragment() []expr.Any {
	return []expr.Any{
		&expr.Exthdr{DestRegister: 1, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, Op: expr.ExthdrOpIpv6},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0xff, 0xf8}, Xor: []byte{0, 0}},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0, 0}},
	}
}

func equal(data []byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}
}

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }
