package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/weavewg/weavewg/topology"
)

// Kind classifies why a handshake did not become a session. The numbers of Refused, Self and Duplicate travel to the
// peer: only append.
type Kind uint8

// The kinds.
const (
	Unreachable Kind = iota + 1 // no connection
	Silent                      // somebody is there but does not show to be a member: other mesh name or secret?
	Refused                     // authenticated, then refused: the reason says why
	Self                        // it is this very node
	Duplicate                   // another node claims the same identity
)

// String names the kind.
func (k Kind) String() string {
	names := [...]string{"none", "unreachable", "silent", "refused", "self", "duplicate"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is why a handshake did not become a session. Its text is one line for people.
type Error struct {
	Kind   Kind
	Peer   topology.NodeID // who answered, if that was proved
	Reason string
	Err    error // the cause, if there is one
}

// Error returns the reason.
func (e *Error) Error() string { return e.Reason }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// fail makes an Error; %w names its cause.
func fail(kind Kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Reason: err.Error(), Err: errors.Unwrap(err)}
}

// asError returns the Error in err, or wraps err as one of the given kind.
func asError(kind Kind, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Kind: kind, Reason: err.Error(), Err: err}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// diagnose tells a dialler what its failure means.
func diagnose(err error, m *meter) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	switch nothing := m.in.Load() == 0; {
	case nothing && isTimeout(err):
		return &Error{Kind: Silent, Reason: "took the connection but did not answer: no weavewg, or overloaded?", Err: err}
	case nothing:
		return &Error{Kind: Silent, Reason: "closed without an answer: other mesh name or secret?", Err: err}
	case isTimeout(err):
		return &Error{Kind: Silent, Reason: "stopped in the middle of the handshake", Err: err}
	case errors.Is(err, io.EOF):
		return &Error{Kind: Silent, Reason: "closed in the middle of the handshake", Err: err}
	}
	return fail(Silent, "answers, but not as a node of this mesh: %w", bareNet(err))
}

// maxReason bounds a reason in bytes, sent or received.
const maxReason = 200

// oneLine makes a text of a peer safe for a log: printable, one line, bounded.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") // not half a character
	}
	return s
}
