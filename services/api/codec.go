package api

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"time"
)

// writeJSON answers with one JSON document. That the caller has gone is nobody's concern.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	e := asError(err)
	status := map[string]int{
		CodeAmbiguous: http.StatusConflict, CodeNotFound: http.StatusNotFound, CodeUsage: http.StatusBadRequest,
		CodeNotReady: http.StatusServiceUnavailable, CodeNotPermitted: http.StatusForbidden,
	}[e.Code]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	writeJSON(w, status, e)
}

// asError gives any error a code.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Message: err.Error(), Code: e.Code, Choices: e.Choices}
	}
	return Errorf(CodeFailed, "%v", err)
}

// readJSON reads the body of a request into v: one JSON document of known fields. It answers itself when it cannot.
func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		refuse(w, http.StatusUnsupportedMediaType, "Content-Type must be application/json")
		return false
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(v)
	if err == nil {
		if _, err = decoder.Token(); errors.Is(err, io.EOF) {
			// The body is whole: what follows may take as long as it takes.
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
			return true
		}
		err = errors.New("more than one document")
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		refuse(w, http.StatusRequestTimeout, "the body took too long")
	} else if _, large := errors.AsType[*http.MaxBytesError](err); large {
		refuse(w, http.StatusRequestEntityTooLarge, "the body is larger than 64 KiB")
	} else {
		refuse(w, http.StatusBadRequest, "body: "+err.Error())
	}
	return false
}

// stream answers with JSON lines.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	encoder *json.Encoder
	begun   bool
}

func newStream(w http.ResponseWriter) *stream {
	s := &stream{w: w, control: http.NewResponseController(w), encoder: json.NewEncoder(w)}
	_ = s.control.SetReadDeadline(time.Time{}) // it would end the request's context
	return s
}

// send writes one line; a caller that does not take it in time ends the stream.
func (s *stream) send(v any) error {
	s.begin()
	if err := s.control.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	if err := s.encoder.Encode(v); err != nil {
		return err
	}
	return s.control.Flush()
}

func (s *stream) begin() {
	if !s.begun {
		s.w.Header().Set("Content-Type", "application/x-ndjson")
		s.w.WriteHeader(http.StatusOK)
		s.begun = true
	}
}

// end closes the stream: with the status of an error if nothing was sent yet, else with a last line that holds it.
func (s *stream) end(err error) {
	switch {
	case err == nil:
		s.begin()
	case !s.begun:
		fail(s.w, err)
	default:
		_ = s.send(asError(err)) // the caller may have gone
	}
}
