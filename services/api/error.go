package api

import "fmt"

// Codes of an Error. Only append.
const (
	CodeAmbiguous    = "ambiguous"     // the name fits several: Choices lists them
	CodeNotFound     = "not-found"     // no such peer, network, target or route
	CodeUsage        = "usage"         // the request makes no sense
	CodeNotReady     = "not-ready"     // try again when the node is ready
	CodeNotPermitted = "not-permitted" // the caller may not
	CodeFailed       = "failed"        // anything else
)

// Error is what every failed request answers with.
type Error struct {
	Message string   `json:"error"`
	Code    string   `json:"code"`
	Choices []string `json:"choices,omitempty"`
}

// Error returns the message, which says where, what and what to try.
func (e *Error) Error() string { return e.Message }

// Errorf makes an Error of a code.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}
