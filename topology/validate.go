package topology

import (
	"errors"
	"fmt"
	"net/netip"
	"unicode"
	"unicode/utf8"
)

// MaxVNI is the largest network identifier: 24 bits (RFC 7348).
const MaxVNI = 1<<24 - 1

// Smallest MTU that a record may state: IPv6's minimum (RFC 8200, section 5).
const minMTU = 1280

// Limits of the smaller fields of messages.
const (
	maxRouted = 32 << 10 // bytes of Routed.Data
	maxReason = 256      // bytes of Bye.Reason
	maxSeal   = 64       // bytes of Sealed.Sig and of Sealed.Proof: an Ed25519 signature
)

// Validate checks every limit that a record must keep whoever wrote it. The error names the field.
func (r *Record) Validate() error {
	if err := r.validate(); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return nil
}

func (r *Record) validate() error {
	if r.Key == [32]byte{} {
		return errors.New("identity key is zero")
	}
	if err := r.Version.validate(); err != nil {
		return err
	}
	if err := CheckName(r.Name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	if r.Software != "" {
		if err := CheckName(r.Software); err != nil {
			return fmt.Errorf("software: %w", err)
		}
	}
	if r.Port == 0 {
		return errors.New("port is 0")
	}
	if r.MTU != 0 && r.MTU < minMTU {
		return fmt.Errorf("MTU %d is below %d", r.MTU, minMTU)
	}
	return errors.Join(r.validateAddrs(), r.validateSlots(), r.validateNetworks(), r.validateEdges())
}

// maxVersion is above any number of starts or changes that a node can make; from there no version could overflow.
const maxVersion = 1 << 62

func (v Version) validate() error {
	if v.Epoch >= maxVersion || v.Seq >= maxVersion {
		return fmt.Errorf("version %d.%d is beyond what a node can reach", v.Epoch, v.Seq)
	}
	return nil
}

func (r *Record) validateAddrs() error {
	if len(r.Addrs) > MaxAddrs {
		return fmt.Errorf("%d addresses, at most %d", len(r.Addrs), MaxAddrs)
	}
	for _, a := range r.Addrs {
		if err := CheckUnderlay(a); err != nil {
			return err
		}
	}
	if len(r.Seen) > MaxSeen {
		return fmt.Errorf("%d observed endpoints, at most %d", len(r.Seen), MaxSeen)
	}
	for _, e := range r.Seen {
		if err := e.validate(); err != nil {
			return err
		}
	}
	return nil
}

func (e Endpoint) validate() error {
	if e.Slot >= MaxSlots {
		return fmt.Errorf("endpoint of slot %d, there are %d", e.Slot, MaxSlots)
	}
	if e.Addr.Port() == 0 {
		return fmt.Errorf("endpoint %v has port 0", e.Addr)
	}
	return CheckUnderlay(e.Addr.Addr())
}

func (r *Record) validateSlots() error {
	if len(r.Slots) > MaxSlots {
		return fmt.Errorf("%d slots, at most %d", len(r.Slots), MaxSlots)
	}
	for i, s := range r.Slots {
		if s.Slot >= MaxSlots {
			return fmt.Errorf("slot %d, there are %d", s.Slot, MaxSlots)
		}
		if s.Port == 0 {
			return fmt.Errorf("slot %d has port 0", s.Slot)
		}
		if err := CheckSlotKey(s.Key); err != nil {
			return fmt.Errorf("slot %d: %w", s.Slot, err)
		}
		for _, o := range r.Slots[:i] {
			if o.Slot == s.Slot || o.Key == s.Key || o.Port == s.Port {
				return fmt.Errorf("slots %d and %d share a number, a key or a port", o.Slot, s.Slot)
			}
		}
	}
	return nil
}

func (r *Record) validateNetworks() error {
	if len(r.Networks) > MaxNetworks {
		return fmt.Errorf("%d networks, at most %d", len(r.Networks), MaxNetworks)
	}
	for i, n := range r.Networks {
		if err := CheckName(n.Name); err != nil {
			return fmt.Errorf("network name: %w", err)
		}
		if n.VNI == 0 || n.VNI > MaxVNI {
			return fmt.Errorf("network %s: VNI %d is not in 1..%d", n.Name, n.VNI, MaxVNI)
		}
		for _, o := range r.Networks[:i] {
			if o.Name == n.Name || o.VNI == n.VNI {
				return fmt.Errorf("networks %s (%d) and %s (%d) share a name or a VNI", o.Name, o.VNI, n.Name, n.VNI)
			}
		}
	}
	return nil
}

func (r *Record) validateEdges() error {
	if len(r.Edges) > MaxNeighbours {
		return fmt.Errorf("%d edges, at most %d", len(r.Edges), MaxNeighbours)
	}
	self := r.ID()
	for i, e := range r.Edges {
		if e.Peer == self || e.Peer.IsZero() {
			return errors.New("edge to itself or to nobody")
		}
		for _, o := range r.Edges[:i] {
			if o.Peer == e.Peer {
				return fmt.Errorf("two edges to %s", e.Peer.Short())
			}
		}
	}
	return nil
}

// CheckName says why s cannot be the name of a node or a network: it must be 1 to 63 bytes of printable UTF-8.
func CheckName(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > MaxName:
		return fmt.Errorf("has %d bytes, at most %d", len(s), MaxName)
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8")
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return fmt.Errorf("%q holds the unprintable %U", s, c)
		}
	}
	return nil
}

// CheckUnderlay says why others cannot reach a node at a.
func CheckUnderlay(a netip.Addr) error {
	switch {
	case !a.IsValid(), a.IsUnspecified():
		return errors.New("address is unspecified")
	case a.Zone() != "", a.Is4In6():
		return fmt.Errorf("address %v has a zone or is IPv4 inside IPv6", a)
	case a.IsLoopback(), a.IsMulticast(), a.IsLinkLocalUnicast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("address %v is loopback, multicast, broadcast or link-local", a)
	}
	return nil
}

// fields counts the fields of m that say something.
func (m *Message) fields() int {
	n := 0
	for _, set := range []bool{
		m.Digest != nil, len(m.Records) > 0, m.Seen != nil, m.PSK != nil, m.Routed != nil,
		m.Ping != nil, m.Pong != nil, m.Forget != nil, m.Bye != nil,
	} {
		if set {
			n++
		}
	}
	return n
}

func (m *Message) validate() error {
	switch {
	case len(m.Records) > 0:
		for _, s := range m.Records {
			if err := s.validate(); err != nil {
				return err
			}
		}
	case m.Seen != nil:
		return m.Seen.validate()
	case m.PSK != nil:
		return m.PSK.validate()
	case m.Routed != nil:
		return m.Routed.validate()
	case m.Forget != nil && m.Forget.Node.IsZero():
		return errors.New("forget names nobody")
	case m.Forget != nil:
		return m.Forget.Floor.validate()
	case m.Bye != nil && len(m.Bye.Reason) > maxReason:
		return fmt.Errorf("reason of %d bytes, at most %d", len(m.Bye.Reason), maxReason)
	}
	return nil
}

func (s Sealed) validate() error {
	if len(s.Body) == 0 || len(s.Body) > MaxRecord || len(s.Sig) > maxSeal || len(s.Proof) > maxSeal {
		return fmt.Errorf("sealed record of %d + %d + %d bytes", len(s.Body), len(s.Sig), len(s.Proof))
	}
	return nil
}

func (p *PSKStep) validate() error {
	t := p.Tunnel
	if p.Phase == 0 || t.MySlot >= MaxSlots || t.YourSlot >= MaxSlots {
		return fmt.Errorf("psk step in phase %d between slots %d and %d", p.Phase, t.MySlot, t.YourSlot)
	}
	if t.MyKey == t.YourKey {
		return errors.New("psk step between a key and itself")
	}
	return errors.Join(CheckSlotKey(t.MyKey), CheckSlotKey(t.YourKey))
}

func (r *Routed) validate() error {
	switch {
	case r.From.IsZero() || r.To.IsZero() || r.From == r.To:
		return errors.New("routed piece to itself, or from or to nobody")
	case len(r.Data) > maxRouted:
		return fmt.Errorf("routed piece of %d bytes, at most %d", len(r.Data), maxRouted)
	case r.Hops > MaxHops:
		return fmt.Errorf("routed piece with %d hops left, at most %d", r.Hops, MaxHops)
	}
	return nil
}
