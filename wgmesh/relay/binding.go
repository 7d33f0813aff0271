package relay

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
	"github.com/weavewg/weavewg/wgmesh/scout"
)

// ID names a binding on every relay of its path.
type ID [16]byte

// String returns 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Compare orders ids by their bytes.
func (id ID) Compare(other ID) int { return bytes.Compare(id[:], other[:]) }

// Leg is one side of a binding.
type Leg struct {
	Node  topology.NodeID // the control neighbour on this side: an end, or the next relay
	Key   [32]byte        // public key of the WireGuard slot that is finally reached on this side
	Scout scout.Key       // authenticates registrations from this side
	Addr  netip.AddrPort  // where this side was last registered from; zero: nowhere yet. In Bind: where it is believed to be
}

// same says whether two legs are the same but for where they are registered.
func (l Leg) same(m Leg) bool { return l.Node == m.Node && l.Key == m.Key && l.Scout == m.Scout }

// Binding lets two WireGuard slots talk through this relay.
type Binding struct {
	ID      ID
	Owner   topology.NodeID // the member who asked, whose quota it uses
	Legs    [2]Leg
	Expires time.Time
}

// binding is a Binding in a table.
type binding struct {
	Binding
	legs  [2]leg
	flows []*flow // pending and open ones
	last  time.Time
	tried time.Time // its last initiation
	sent  [2]Traffic
}

// leg is what the table keeps beside a Leg.
type leg struct {
	proven    bool          // it answered from where it is: data may go there
	heard     time.Time     // when it did so last, or registered from there again
	owed      scout.Message // a registration that will be answered once it is proven; zero: none
	counter   uint64        // newest of the registrations from this side
	asked     [4]ask        // registrations that we asked for, the last ones
	asks      int           // how many so far
	stamp     uint64        // counter of the newest that we asked for
	scouts    bucket        // registrations from this side
	starts    bucket        // initiations from this side
	questions bucket        // that packets made us ask
}

// ask is a registration that we sent.
type ask struct {
	tx       uint64
	at       time.Time
	answered bool
}

// side is one leg of one binding.
type side struct {
	b   *binding
	leg int
}

func (s side) addr() netip.AddrPort { return s.b.Legs[s.leg].Addr }

// Traffic counts what was forwarded.
type Traffic struct{ Packets, Bytes uint64 }

func (t *Traffic) add(more Traffic) {
	t.Packets += more.Packets
	t.Bytes += more.Bytes
}

// one is the traffic of a single packet.
func one(p []byte) Traffic { return Traffic{Packets: 1, Bytes: uint64(len(p))} }
