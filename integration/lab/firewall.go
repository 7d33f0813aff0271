package lab

import (
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Bytes of a TCP segment. A ClientHello is in a TLS record of type handshake and version 3.x, and begins with the
// message's type (RFC 8446, 5.1 and 4).
var (
	sequence      = field{expr.PayloadBaseTransportHeader, 4, 4}
	flags         = field{expr.PayloadBaseTransportHeader, 13, 1}
	payloadStart  = field{innerHeader, 0, 1}
	recordType    = field{innerHeader, 0, 2}
	handshakeType = field{innerHeader, 5, 1}
)

// Marks of connections through OnlyTLS443: the sequence number of the client's first byte is known; that byte began a
// ClientHello.
var (
	markBegun = binaryutil.NativeEndian.PutUint32(0x7e1151)
	markHello = binaryutil.NativeEndian.PutUint32(0x7e1152)
)

// begins is a set of connections' ids and the sequence numbers of their clients' first bytes: a ClientHello elsewhere
// in the stream does not count, in whatever order segments come.
const begins = "begins"

// OnlyTLS443 makes a router drop all that comes out of the site behind this link of its, but TCP to port 443, and of
// that every connection whose client does not begin with a TLS ClientHello, whole in its first segment up to the
// message's type. Connections that are open when it begins are cut too. Both IP versions, until undo is called.
func (k *Link) OnlyTLS443() (undo func() error, err error) {
	out := func() rule {
		return rule{}.from(k).proto(unix.IPPROTO_TCP).eq(dport, binaryutil.BigEndian.PutUint16(443))
	}
	// place is the key of begins.
	place := func(r rule) rule {
		return append(r, &expr.Ct{Key: expr.CtKeyID, Register: key}).load(key+1, sequence)
	}
	return k.firewall("only TLS", func(t table) error {
		err := t.conn.AddSet(&nftables.Set{
			Table: t.Table, Name: begins, Dynamic: true, HasTimeout: true, Timeout: time.Hour, Size: 1 << 16,
			KeyType: nftables.MustConcatSetType(nftables.TypeInteger, nftables.TypeInteger),
		}, nil)
		if err != nil {
			return err
		}
		t.filter("forward", nftables.ChainHookForward, afterNAT,
			out().mark(markHello).accept(),
			// What follows the SYN, with or without a payload, has the number of the first byte.
			place(out().mark(make([]byte, 4)).noSYN()).update(begins, key, 0).setMark(markBegun),
			place(out().mark(markBegun).eq(recordType, []byte{22, 3}).eq(handshakeType, []byte{1})).has(begins, key).
				setMark(markHello).accept(),
			out().load(scratch, payloadStart).drop(), // there is a payload
			out().accept(),                           // what opens, confirms and closes
			rule{}.from(k).drop())
		return nil
	})
}

// mark matches connections by their mark, which is 0 in the beginning.
func (r rule) mark(value []byte) rule {
	return append(r, &expr.Ct{Key: expr.CtKeyMARK, Register: scratch}).compare(expr.CmpOpEq, value)
}

func (r rule) setMark(value []byte) rule {
	return append(r.value(scratch, value), &expr.Ct{Key: expr.CtKeyMARK, Register: scratch, SourceRegister: true})
}

// noSYN matches TCP segments without that flag.
func (r rule) noSYN() rule {
	return append(r.load(scratch, flags),
		&expr.Bitwise{SourceRegister: scratch, DestRegister: scratch, Len: 1, Mask: []byte{2}, Xor: []byte{0}}).
		compare(expr.CmpOpEq, []byte{0})
}

// BlockUDP makes a router drop all UDP that comes from or goes to the site behind this link of its, of both IP
// versions, until undo is called.
func (k *Link) BlockUDP() (undo func() error, err error) {
	return k.firewall("block UDP", func(t table) error {
		t.filter("forward", nftables.ChainHookForward, afterNAT,
			rule{}.from(k).proto(unix.IPPROTO_UDP).drop(), rule{}.to(k).proto(unix.IPPROTO_UDP).drop())
		return nil
	})
}

// afterNAT is the priority of rules that come after those of a NAT box at the same hook.
var afterNAT = nftables.ChainPriorityRef(*nftables.ChainPriorityFilter + 1)

func (k *Link) firewall(what string, build func(table) error) (undo func() error, err error) {
	undo, err = k.Host.addTable(build)
	if err != nil {
		return nil, fmt.Errorf("%s behind %s: %w", what, k.Interface, err)
	}
	return undo, nil
}
