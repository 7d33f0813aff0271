package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rule is an nftables rule under construction: each method adds an expression and returns the longer rule, so that one
// reads like the line that the nft program prints. Filter.rule has the same expressions for switches.
type rule []expr.Any

// Registers of 4 bytes each, from NFT_REG32_00 on. The first four hold what is compared; rules put the parts of a key
// into adjacent registers, as sets of concatenated types want them.
const (
	scratch = unix.NFT_REG_1
	key     = unix.NFT_REG32_00 + 4
	data    = unix.NFT_REG32_00 + 8
	other   = unix.NFT_REG32_00 + 12
)

// field is a part of a packet.
type field struct {
	base        expr.PayloadBase
	offset, len uint32
}

// innerHeader is NFT_PAYLOAD_INNER_HEADER, "@ih" to nft: what follows the TCP header, options included (kernel 5.16).
const innerHeader = expr.PayloadBase(unix.NFT_PAYLOAD_INNER_HEADER)

var (
	saddr = field{expr.PayloadBaseNetworkHeader, 12, 4} // IPv4
	daddr = field{expr.PayloadBaseNetworkHeader, 16, 4} // IPv4
	sport = field{expr.PayloadBaseTransportHeader, 0, 2}
	dport = field{expr.PayloadBaseTransportHeader, 2, 2}

	icmpTypeAndCode = field{expr.PayloadBaseTransportHeader, 0, 2}
)

// load puts fields into adjacent registers, the first into reg. A packet that is too short ends the rule.
func (r rule) load(reg uint32, fields ...field) rule {
	for _, f := range fields {
		r = append(r, &expr.Payload{DestRegister: reg, Base: f.base, Offset: f.offset, Len: f.len})
		reg += (f.len + 3) / 4
	}
	return r
}

// value puts bytes into a register.
func (r rule) value(reg uint32, b []byte) rule {
	return append(r, &expr.Immediate{Register: reg, Data: b})
}

// eq matches a field.
func (r rule) eq(f field, value []byte) rule { return r.load(scratch, f).compare(expr.CmpOpEq, value) }

func (r rule) compare(op expr.CmpOp, value []byte) rule {
	return append(r, &expr.Cmp{Op: op, Register: scratch, Data: value})
}

// notWithin matches addresses outside a prefix.
func (r rule) notWithin(f field, p netip.Prefix) rule {
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
	r = append(r.load(scratch, f),
		&expr.Bitwise{SourceRegister: scratch, DestRegister: scratch, Len: 4, Mask: mask, Xor: make([]byte, 4)})
	return r.compare(expr.CmpOpNeq, p.Masked().Addr().AsSlice())
}

// from and to match the interface of a link.
func (r rule) from(k *Link) rule { return r.meta(expr.MetaKeyIIFNAME, ifname(k.Interface)) }
func (r rule) to(k *Link) rule   { return r.meta(expr.MetaKeyOIFNAME, ifname(k.Interface)) }

// proto and notProto match the protocol above IP.
func (r rule) proto(p uint8) rule { return r.meta(expr.MetaKeyL4PROTO, []byte{p}) }
func (r rule) notProto(p uint8) rule {
	return append(r, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: scratch}).compare(expr.CmpOpNeq, []byte{p})
}

func (r rule) meta(k expr.MetaKey, value []byte) rule {
	return append(r, &expr.Meta{Key: k, Register: scratch}).compare(expr.CmpOpEq, value)
}

// state and status match connections any of whose bits are set.
func (r rule) state(bits uint32) rule  { return r.bits(expr.CtKeySTATE, bits) }
func (r rule) status(bits uint32) rule { return r.bits(expr.CtKeySTATUS, bits) }

func (r rule) bits(k expr.CtKey, bits uint32) rule {
	r = append(r, &expr.Ct{Key: k, Register: scratch}, &expr.Bitwise{SourceRegister: scratch, DestRegister: scratch, Len: 4,
		Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)})
	return r.compare(expr.CmpOpNeq, make([]byte, 4))
}

// find looks a key up in a map and puts its value into a register; an absent key ends the rule.
func (r rule) find(set string, keyAt, valueTo uint32) rule {
	return append(r, &expr.Lookup{SetName: set, SourceRegister: keyAt, DestRegister: valueTo, IsDestRegSet: true})
}

// has ends the rule unless a set holds a key.
func (r rule) has(set string, keyAt uint32) rule {
	return append(r, &expr.Lookup{SetName: set, SourceRegister: keyAt})
}

// update adds a key to a set or map, or starts its timeout anew; the value of a key that is there stays. valueAt is 0
// for sets.
func (r rule) update(set string, keyAt, valueAt uint32) rule {
	return append(r, &expr.Dynset{SetName: set, SrcRegKey: keyAt, SrcRegData: valueAt, Operation: unix.NFT_DYNSET_OP_UPDATE})
}

func (r rule) accept() rule { return append(r, &expr.Verdict{Kind: expr.VerdictAccept}) }
func (r rule) ret() rule    { return append(r, &expr.Verdict{Kind: expr.VerdictReturn}) }
func (r rule) drop() rule   { return append(r, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}) }
func (r rule) jump(chain string) rule {
	return append(r, &expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
}

// table is a table of a host's firewall under construction, in a transaction that replaces it.
type table struct {
	*nftables.Table
	conn *nftables.Conn
}

// setTable replaces a table of the host's firewall in one transaction: there is no moment without rules.
func (h *Host) setTable(family nftables.TableFamily, name string, build func(table) error) error {
	err := h.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		t := table{c.AddTable(&nftables.Table{Family: family, Name: name}), c}
		c.DelTable(t.Table) // which is no error only where it exists
		c.AddTable(t.Table)
		if err := build(t); err != nil {
			return err
		}
		return c.Flush()
	})
	if err != nil {
		return fmt.Errorf("%s: firewall %s: %w", h.name, name, err)
	}
	return nil
}

// addTable adds a table of its own that undo removes.
func (h *Host) addTable(build func(table) error) (undo func() error, err error) {
	name := fmt.Sprintf("lab%d", h.lab.next())
	if err := h.setTable(nftables.TableFamilyINet, name, build); err != nil {
		return nil, err
	}
	return func() error {
		return h.Do(func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			c.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
			if err := c.Flush(); err != nil {
				return fmt.Errorf("%s: firewall %s: %w", h.name, name, err)
			}
			return nil
		})
	}, nil
}

// filter adds a chain that decides about packets at a hook; what no rule decides passes.
func (t table) filter(name string, hook *nftables.ChainHook, prio *nftables.ChainPriority, rules ...rule) {
	t.chain(&nftables.Chain{Name: name, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: prio}, rules...)
}

// translate adds a chain that sees the first packet of every connection.
func (t table) translate(name string, hook *nftables.ChainHook, prio *nftables.ChainPriority, rules ...rule) {
	t.chain(&nftables.Chain{Name: name, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: prio}, rules...)
}

// called adds a chain that other chains jump to; they have to come later.
func (t table) called(name string, rules ...rule) { t.chain(&nftables.Chain{Name: name}, rules...) }

func (t table) chain(c *nftables.Chain, rules ...rule) {
	c.Table = t.Table
	t.conn.AddChain(c)
	for _, r := range rules {
		t.conn.AddRule(&nftables.Rule{Table: t.Table, Chain: c, Exprs: r})
	}
}
