package control

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// clientHello returns what crypto/tls sends first.
func clientHello(t testing.TB, config *tls.Config) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer b.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(a, config).Handshake() // fails: nobody answers
		a.Close()
	}()
	header := make([]byte, 5)
	if _, err := io.ReadFull(b, header); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, int(header[3])<<8|int(header[4]))
	if _, err := io.ReadFull(b, body); err != nil {
		t.Fatal(err)
	}
	b.Close()
	<-done
	return append(header, body...)
}

func knockConfig(name string) *tls.Config {
	return &tls.Config{ServerName: name, InsecureSkipVerify: true, NextProtos: []string{alpn}}
}

// inRecords cuts the handshake message in a record into records of n bytes.
func inRecords(hello []byte, n int) []byte {
	var out []byte
	for body := hello[5:]; len(body) > 0; {
		part := body[:min(n, len(body))]
		out = append(out, 22, 3, 1, byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
		body = body[len(part):]
	}
	return out
}

func TestServerName(t *testing.T) {
	hello := clientHello(t, knockConfig("beta.example"))
	for name, b := range map[string][]byte{
		"one record": hello, "records of 100": inRecords(hello, 100), "records of 3": inRecords(hello, 3),
		"with more behind": append(hello[:len(hello):len(hello)], "rest"...),
	} {
		if got, err := serverName(b); err != nil || got != "beta.example" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		whole := len(b) - strings.Count(name, "more")*4
		for i := range whole {
			if _, err := serverName(b[:i]); !errors.Is(err, errIncomplete) {
				t.Fatalf("%s, first %d bytes: %v", name, i, err)
			}
		}
	}
	for name, b := range map[string][]byte{
		"HTTP":             []byte("GET / HTTP/1.1\r\n\r\n"),
		"SSH":              []byte("SSH-2.0-OpenSSH_9.2\r\n"),
		"alert":            {21, 3, 1, 0, 2, 1, 0},
		"SSL 2":            {0x80, 0x2e, 1, 0, 2},
		"major version 4":  {22, 4},
		"empty record":     {22, 3, 1, 0, 0},
		"huge record":      {22, 3, 1, 0x10, 1},
		"ServerHello":      {22, 3, 1, 0, 4, 2, 0, 0, 0},
		"hello of 1 MB":    {22, 3, 1, 0, 4, 1, 0x10, 0, 0},
		"empty hello":      {22, 3, 1, 0, 4, 1, 0, 0, 0},
		"more in a record": append([]byte{22, 3, 1, 0, 9, 1, 0, 0, 4}, "abcde"...),
		"no name":          clientHello(t, &tls.Config{InsecureSkipVerify: true}),
	} {
		if got, err := serverName(b); !errors.Is(err, errNotHello) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestServerNameOfDamagedHello changes every byte: no panic, and no other name unless the name itself was hit.
func TestServerNameOfDamagedHello(t *testing.T) {
	hello := clientHello(t, knockConfig("beta.example"))
	for i := range hello {
		for _, x := range []byte{1, 0x80, 0xff} {
			b := append([]byte(nil), hello...)
			b[i] ^= x
			if name, err := serverName(b); err == nil && len(name) != len("beta.example") {
				t.Fatalf("byte %d: %q", i, name)
			}
		}
	}
}

func keysOf(t testing.TB, mesh string, secrets ...string) []meshKeys {
	t.Helper()
	keys, err := parseSecrets(t, secrets...).derive(mesh)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestKnock(t *testing.T) {
	keys := keysOf(t, "home", secretA, secretB)
	for _, k := range keys {
		name := newKnock(k)
		label, _, _ := strings.Cut(name, ".")
		if len(label) > 63 || label != strings.ToLower(label) || newKnock(k) == name {
			t.Fatalf("no host name, or not fresh: %q", name)
		}
		if _, ok := openKnock(name, keys); !ok {
			t.Fatalf("%q refused", name)
		}
		for other, o := range map[string][]meshKeys{"mesh": keysOf(t, "work", secretA, secretB), "secret": keysOf(t, "home", secretB+"x")} {
			if _, ok := openKnock(name, o); ok {
				t.Fatalf("another %s accepts the knock", other)
			}
		}
		for i := range name {
			for _, x := range []byte{1, 2, 4, 8, 16, 32, 64, 128} {
				b := []byte(name)
				b[i] ^= x
				if _, ok := openKnock(string(b), keys); ok {
					t.Fatalf("accepts %q as %q", b, name)
				}
			}
		}
	}
}

func TestReplays(t *testing.T) {
	r := newReplays(4)
	nonce := func(i int) [nonceSize]byte { return [nonceSize]byte{byte(i), byte(i >> 8)} }
	for i := range 1000 {
		if !r.first(nonce(i)) {
			t.Fatalf("%d is not new", i)
		}
		for j := max(0, i-4); j <= i; j++ {
			if r.first(nonce(j)) {
				t.Fatalf("%d forgotten at %d", j, i)
			}
		}
		if len(r.new)+len(r.old) > 8 {
			t.Fatal("grows without bound")
		}
	}
}

func FuzzClientHello(f *testing.F) {
	hello := clientHello(f, knockConfig("beta.example"))
	f.Add(hello)
	f.Add(inRecords(hello, 100))
	f.Add(hello[:700])
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{22, 3, 1, 0, 4, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		name, err := serverName(b)
		if err == nil && len(name) > len(b) {
			t.Fatal("name from nowhere")
		}
		if err == nil || errors.Is(err, errNotHello) {
			return
		}
		if !errors.Is(err, errIncomplete) {
			t.Fatalf("other error: %v", err)
		}
		// A verdict on a prefix stands whatever follows, or a slow sender would fare otherwise than a fast one.
		for i := 0; i < len(b); i += 1 + len(b)/50 {
			if _, err := serverName(b[:i]); !errors.Is(err, errIncomplete) {
				t.Fatalf("%d of %d bytes: %v", i, len(b), err)
			}
		}
	})
}

func FuzzKnock(f *testing.F) {
	keys := keysOf(f, "home", secretA, secretB)
	good := newKnock(keys[0])
	for _, seed := range []string{good, newKnock(keys[1]), "", "beta.example", good + ".", strings.ToUpper(good), good[1:], knockSuffix} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		nonce, ok := openKnock(name, keys)
		if !ok {
			return
		}
		for _, k := range keys {
			if knockText.EncodeToString(append(nonce[:], knockMAC(k, nonce[:])...))+knockSuffix == name {
				return
			}
		}
		t.Fatalf("accepts %q, which no secret makes", name)
	})
}
