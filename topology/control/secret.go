package control

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"unicode/utf8"
)

// Limits of a secret file.
const (
	maxSecretFile = 16 << 10 // bytes
	maxSecrets    = 16
	maxSecretLine = 512 // bytes
	// minSecretLine is the length of 128 random bits in base64. Whoever receives our proof could try weaker secrets
	// offline, so there is no way to use them.
	minSecretLine = 22
	// minDistinct is how many different characters a secret has at least: what is typed as one key held down is long, and
	// guessed at once. Six of the shortest length are some 50 bits at best.
	minDistinct = 6
)

// secretPrefix marks generated secrets, so that people and leak scanners recognise them.
const secretPrefix = "wwg1-"

// Secrets are the mesh secrets that a node accepts; the first is the one it uses itself. They print as their number.
type Secrets struct{ lines []string }

// GenerateSecret returns a new secret: 256 random bits as text.
func GenerateSecret() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand
	return secretPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// CreateSecret stores a new secret at path, mode 0600. A file that is there already is left as it is: fs.ErrExist.
func CreateSecret(path string) error {
	if err := createPrivate(path, []byte(GenerateSecret()+"\n")); err != nil {
		return fmt.Errorf("secret_file %w", err)
	}
	return nil
}

// LoadSecrets reads a secret file: one secret a line, blank lines and lines that begin with # aside. The first is
// used, all are accepted, which is how a secret is replaced without a pause.
func LoadSecrets(path string) (*Secrets, error) {
	data, err := readPrivate(path, maxSecretFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("secret_file %s not found; make one: weavewg secret generate -o %s", path, path)
	}
	if err != nil {
		return nil, fmt.Errorf("secret_file %w", err)
	}
	secrets, err := ParseSecrets(data)
	if err != nil {
		return nil, fmt.Errorf("secret_file %s: %w", path, err)
	}
	return secrets, nil
}

// ParseSecrets reads the text of a secret file. Its errors name lines, never what is in them.
func ParseSecrets(data []byte) (*Secrets, error) {
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, fmt.Errorf("is not UTF-8 text")
	}
	s := &Secrets{}
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			continue
		case len(s.lines) == maxSecrets:
			return nil, fmt.Errorf("line %d: more than %d secrets", number, maxSecrets)
		case strings.ContainsAny(line, " \t"):
			return nil, fmt.Errorf("line %d: a secret has no spaces", number)
		case len(line) > maxSecretLine:
			return nil, fmt.Errorf("line %d: longer than %d characters", number, maxSecretLine)
		case len(strings.TrimPrefix(line, secretPrefix)) < minSecretLine:
			return nil, fmt.Errorf("line %d: too short to be safe (%d characters at least): weavewg secret generate makes a good one",
				number, minSecretLine)
		case distinct(strings.TrimPrefix(line, secretPrefix)) < minDistinct:
			return nil, fmt.Errorf("line %d: too simple to be safe (%d different characters at least): weavewg secret generate makes a good one",
				number, minDistinct)
		}
		s.lines = append(s.lines, line)
	}
	if len(s.lines) == 0 {
		return nil, fmt.Errorf("holds no secret; make one: weavewg secret generate")
	}
	return s, nil
}

// distinct counts the different characters of s.
func distinct(s string) int {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen)
}

// String says how many secrets there are.
func (s Secrets) String() string { return fmt.Sprintf("%d secrets (hidden)", len(s.lines)) }

// Format keeps every verb, %#v included, from printing a secret.
func (s Secrets) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, s.String()) }

// MarshalText keeps the secrets out of JSON and logs.
func (s Secrets) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// meshKeys are the keys that one secret gives in one mesh, each for one purpose. The mesh's name is the salt (RFC 5869),
// so a secret that two meshes share opens neither to the other.
type meshKeys struct {
	knock  []byte // authenticates knocks
	proof  []byte // proves the secret inside a TLS session
	member []byte // vouches for an identity in gossip
}

func (s *Secrets) derive(mesh string) ([]meshKeys, error) {
	all := make([]meshKeys, 0, len(s.lines))
	for _, line := range s.lines {
		var k meshKeys
		for _, d := range []struct {
			key   *[]byte
			label string
		}{{&k.knock, "weavewg knock v1"}, {&k.proof, "weavewg proof v1"}, {&k.member, "weavewg member v1"}} {
			key, err := hkdf.Key(sha256.New, []byte(line), []byte(mesh), d.label, sha256.Size)
			if err != nil {
				return nil, fmt.Errorf("derive a key from the mesh secret: %w", err)
			}
			*d.key = key
		}
		all = append(all, k)
	}
	return all, nil
}

// mac is HMAC-SHA256 over parts, each of which has a fixed length or is the last.
func mac(key []byte, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
