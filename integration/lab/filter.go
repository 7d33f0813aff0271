package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Filter drops frames inside a switch. Zero fields match everything.
type Filter struct {
	From, To *Link
	Protocol uint8   // IP protocol, such as unix.IPPROTO_UDP
	Port     uint16  // destination port; needs Protocol
	Loss     float64 // share of the matching frames that is dropped, 0 to 1; 0 means all of them
}

// Drop puts a filter in force until undo is called.
func (s *Switch) Drop(f Filter) (undo func() error, err error) {
	p := &f
	s.mu.Lock()
	defer s.mu.Unlock()
	s.filters = append(s.filters, p)
	if err := s.applyFilters(); err != nil {
		s.filters = s.filters[:len(s.filters)-1]
		return nil, err
	}
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.filters = slices.DeleteFunc(s.filters, func(q *Filter) bool { return q == p })
		return s.applyFilters()
	}, nil
}

// Block cuts two hosts off from each other, both ways, until undo is called.
func (s *Switch) Block(a, b *Link) (undo func() error, err error) {
	there, err := s.Drop(Filter{From: a, To: b})
	if err != nil {
		return nil, err
	}
	back, err := s.Drop(Filter{From: b, To: a})
	if err != nil {
		return nil, errors.Join(err, there())
	}
	return func() error {
		if err := there(); err != nil {
			return err
		}
		return back()
	}, nil
}

// applyFilters replaces the switch's rules in one transaction. The caller holds s.mu.
func (s *Switch) applyFilters() error {
	return s.lab.underlay.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyBridge, Name: s.bridge.Name})
		c.DelTable(table) // all three in one batch: never a moment without rules
		c.AddTable(table)
		chain := c.AddChain(&nftables.Chain{
			Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
		})
		for _, f := range s.filters {
			froms := []*Link{f.From}
			if f.From == nil && f.To == nil {
				froms = s.links // the rules of other switches are in the same namespace
			}
			for _, from := range froms {
				c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: f.rule(from)})
			}
		}
		if err := c.Flush(); err != nil {
			return fmt.Errorf("switch %s: filters: %w", s.name, err)
		}
		return nil
	})
}

// rule is what "nft --debug=netlink" shows for: iifname FROM oifname TO meta l4proto P th dport N
// numgen random mod 1000000 < LOSS drop.
func (f *Filter) rule(from *Link) []expr.Any {
	var e []expr.Any
	match := func(key expr.MetaKey, value []byte) {
		e = append(e, &expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value})
	}
	if from != nil {
		match(expr.MetaKeyIIFNAME, ifname(from.Port))
	}
	if f.To != nil {
		match(expr.MetaKeyOIFNAME, ifname(f.To.Port))
	}
	if f.Protocol != 0 {
		match(expr.MetaKeyL4PROTO, []byte{f.Protocol})
	}
	if f.Port != 0 {
		e = append(e,
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(f.Port)})
	}
	if f.Loss > 0 && f.Loss < 1 {
		const parts = 1_000_000
		e = append(e,
			&expr.Numgen{Register: 1, Modulus: parts, Type: unix.NFT_NG_RANDOM},
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpLt, Register: 1,
				Data: binary.BigEndian.AppendUint32(nil, uint32(math.Round(f.Loss*parts)))})
	}
	return append(e, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
}

// ifname is a name as nftables compares it: 16 bytes, zero-filled.
func ifname(name string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return b
}
