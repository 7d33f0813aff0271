package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
)

// Version is the version of the file that this build writes, and the newest that it reads.
const Version = 1

// maxFile bounds what is read, in bytes: 32 networks with a thousand attachments each have some 10 MB.
const maxFile = 32 << 20

// envelope is the whole file.
type envelope struct {
	Version int             `json:"version"`
	SHA256  string          `json:"sha256"` // of the bytes of Body
	Body    json.RawMessage `json:"body"`
}

// body is what is remembered.
type body struct {
	Core        json.RawMessage `json:"core,omitempty"`
	Attachments []Attachment    `json:"attachments"`
}

// encode makes the bytes of a file.
func encode(b body) ([]byte, error) {
	inner, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	sum := sha256.Sum256(inner)
	out, err := json.Marshal(envelope{Version: Version, SHA256: hex.EncodeToString(sum[:]), Body: inner})
	if err != nil {
		return nil, fmt.Errorf("encode state: %w", err)
	}
	return append(out, '\n'), nil
}

// errDamaged is for bytes that this program did not write like that.
var errDamaged = errors.New("damaged: restore it from a backup, or remove it (targets of connect and attachments are lost, the identity is kept)")

// decode reads the bytes of a file.
func decode(data []byte) (body, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return body{}, fmt.Errorf("empty: %w", errDamaged)
	}
	var e envelope
	if err := json.Unmarshal(data, &e); err != nil {
		return body{}, fmt.Errorf("not JSON: %w", errDamaged)
	}
	switch {
	case e.Version > Version:
		return body{}, fmt.Errorf("state v%d is newer than this build (v%d): use the newer weavewg, or remove the file", e.Version, Version)
	case e.Version < 1:
		return body{}, fmt.Errorf("no version: %w", errDamaged)
	}
	sum := sha256.Sum256(e.Body)
	if e.SHA256 != hex.EncodeToString(sum[:]) {
		return body{}, fmt.Errorf("checksum does not match: %w", errDamaged)
	}
	var b body
	if err := json.Unmarshal(e.Body, &b); err != nil {
		return body{}, fmt.Errorf("unexpected content: %w", errDamaged)
	}
	return b, nil
}
