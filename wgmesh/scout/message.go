package scout

import (
	"crypto/hmac"
	"encoding/binary"
	"errors"
	"net/netip"
)

// Magic begins every scout. As a little-endian number it is none of WireGuard's message types, 1 to 4.
const Magic = "wvwg"

// Length is the shortest scout, and the length of every answer: an answer is never longer than its request.
const Length = offMAC + macSize

// The layout. Numbers are big endian; the MAC covers what is before it, and zeros follow up to the request's size.
const (
	offKind     = 4  // then a zero
	offSize     = 6  // u16
	offTag      = 8  // 8 bytes
	offTx       = 16 // u64
	offCounter  = 24 // u64
	offFamily   = 32 // 0 none, 4, 6; then a zero
	offPort     = 34 // u16
	offObserved = 36 // 16 bytes, IPv4 in the first four
	offMAC      = 52
	macSize     = 16
)

// Kind says which way a scout goes.
type Kind uint8

// The kinds.
const (
	Request Kind = 1
	Answer  Kind = 2
)

// Message is a scout.
type Message struct {
	Kind     Kind
	Size     uint16         // bytes of the whole request in UDP; its answer repeats it
	Tag      [TagSize]byte  // of the key; Encode takes the key's own
	Tx       uint64         // random; an answer repeats it
	Counter  uint64         // grows with every request of one sender and key; where replay matters, no more than the newest is refused
	Observed netip.AddrPort // in an answer: where the request came from, IPv4 as such; zero: not told
}

// Why a datagram is refused.
var (
	ErrForm   = errors.New("not a scout")
	ErrForged = errors.New("scout with another key or a wrong MAC")
)

// Answered returns the answer to a request that came from seen.
func (m Message) Answered(seen netip.AddrPort) Message {
	m.Kind, m.Observed = Answer, seen
	return m
}

// Encode returns the datagram of a message. A request is padded to its size, and none is shorter than Length.
func Encode(key Key, m Message) []byte {
	m.Size = max(m.Size, Length)
	length := int(m.Size)
	if m.Kind == Answer {
		length = Length
	}
	b := make([]byte, length)
	copy(b, Magic)
	b[offKind] = byte(m.Kind)
	binary.BigEndian.PutUint16(b[offSize:], m.Size)
	copy(b[offTag:], key.Tag[:])
	binary.BigEndian.PutUint64(b[offTx:], m.Tx)
	binary.BigEndian.PutUint64(b[offCounter:], m.Counter)
	putObserved(b, m.Observed)
	copy(b[offMAC:], key.mac(b[:offMAC]))
	return b
}

func putObserved(b []byte, seen netip.AddrPort) {
	ip := seen.Addr().Unmap()
	switch {
	case ip.Is4():
		b[offFamily] = 4
	case ip.Is6():
		b[offFamily] = 6
	default:
		return
	}
	binary.BigEndian.PutUint16(b[offPort:], seen.Port())
	copy(b[offObserved:offMAC], ip.AsSlice())
}

// Is says whether a datagram claims to be a scout: what has another beginning is WireGuard's, or garbage.
func Is(b []byte) bool { return len(b) >= Length && string(b[:len(Magic)]) == Magic }

// Peek returns the name of the key that a datagram claims to be made with.
func Peek(b []byte) (tag [TagSize]byte, ok bool) {
	if !Is(b) {
		return tag, false
	}
	return [TagSize]byte(b[offTag:offTx]), true
}

// Decode returns the message of a datagram that was made with key. A message has exactly one datagram: spare bytes that
// are not zero, or a length that is not the promised one, are refused.
func Decode(key Key, b []byte) (Message, error) {
	if !Is(b) {
		return Message{}, ErrForm
	}
	tag := [TagSize]byte(b[offTag:offTx])
	if tag != key.Tag || !hmac.Equal(b[offMAC:Length], key.mac(b[:offMAC])) {
		return Message{}, ErrForged
	}
	m := Message{
		Kind:    Kind(b[offKind]),
		Size:    binary.BigEndian.Uint16(b[offSize:]),
		Tag:     tag,
		Tx:      binary.BigEndian.Uint64(b[offTx:]),
		Counter: binary.BigEndian.Uint64(b[offCounter:]),
	}
	seen, ok := observed(b)
	if !ok || !m.fits(b) || b[offKind+1]|b[offFamily+1] != 0 {
		return Message{}, ErrForm
	}
	m.Observed = seen
	return m, nil
}

// fits says whether a datagram has the length of its kind, and nothing but zeros behind the MAC.
func (m Message) fits(b []byte) bool {
	switch m.Kind {
	case Request:
		return len(b) == int(m.Size) && zero(b[Length:])
	case Answer:
		return len(b) == Length && m.Size >= Length
	default:
		return false
	}
}

func observed(b []byte) (seen netip.AddrPort, ok bool) {
	port, field := binary.BigEndian.Uint16(b[offPort:]), b[offObserved:offMAC]
	switch b[offFamily] {
	case 0:
		return seen, port == 0 && zero(field)
	case 4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(field[:4])), port), zero(field[4:])
	case 6:
		ip := netip.AddrFrom16([16]byte(field))
		return netip.AddrPortFrom(ip, port), !ip.Is4In6()
	default:
		return seen, false
	}
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
