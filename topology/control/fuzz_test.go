package control

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"testing"

	"github.com/weavewg/weavewg/topology"
)

func FuzzFrames(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255})
	f.Add(appendFrame(nil, []byte("one")))
	f.Add(appendFrame(appendFrame(nil, []byte("one")), make([]byte, 300)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		var again []byte
		for {
			at := len(stream) - r.Len()
			body, err := readFrame(r, 256)
			if err != nil {
				if errors.Is(err, io.EOF) && at != len(stream) {
					t.Fatalf("end in the middle of a frame at %d of %d", at, len(stream))
				}
				if !bytes.HasPrefix(stream, again) {
					t.Fatal("frames are not what was sent")
				}
				return
			}
			if len(body) == 0 || len(body) > 256 {
				t.Fatalf("frame of %d bytes", len(body))
			}
			again = appendFrame(again, body)
		}
	})
}

func FuzzHello(f *testing.F) {
	alpha, beta := newIdentityT(f), newIdentityT(f)
	n := notaryOf(f, alpha, "home", secretA)
	sealed, err := n.Seal(testRecord(alpha, [8]byte{1}))
	if err != nil {
		f.Fatal(err)
	}
	good, err := encodeHello(LocalHello{Run: [8]byte{1}, Port: 6783, Record: sealed}.wire())
	if err != nil {
		f.Fatal(err)
	}
	refusal, err := encodeHello(verdict{Kind: Self, Reason: "connected to self"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(refusal)
	f.Add([]byte{0xa0})
	f.Add(bytes.Repeat([]byte{0x81}, 100))
	f.Add([]byte{0xa1, 0x06, 0xa1, 0x01, 0x5b, 0x7f, 255, 255, 255, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h helloWire
		if decodeHello(b, &h) == nil {
			p, err := meet(LocalHello{}, beta, alpha.Public(), h, n)
			if err == nil && (p.Record == nil || p.Record.Key != alpha.Public() || !bytes.Equal(p.Sealed.Body, sealed.Body)) {
				t.Fatalf("accepts %+v", p)
			}
		}
		var v verdict
		if decodeHello(b, &v) == nil && len(oneLine(v.Reason)) > maxReason {
			t.Fatal("a reason without bound")
		}
	})
}

func FuzzCertificate(f *testing.F) {
	own, err := newIdentityT(f).certificate()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(own.Certificate[0], uint8(1))
	f.Add(own.Certificate[0], uint8(2))
	for _, odd := range oddCertificates(f) {
		if len(odd.Certificate) > 0 && len(odd.Certificate[0]) < 4096 {
			f.Add(odd.Certificate[0], uint8(1))
		}
	}
	f.Fuzz(func(t *testing.T, der []byte, count uint8) {
		state := tls.ConnectionState{Version: tls.VersionTLS13, CurveID: tls.X25519MLKEM768, NegotiatedProtocol: alpn}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		for range count {
			state.PeerCertificates = append(state.PeerCertificates, c)
		}
		key, err := verifyPeer(state)
		if err != nil {
			return
		}
		if count != 1 || c.PublicKeyAlgorithm != x509.Ed25519 || len(der) > maxCertificate || !bytes.Contains(der, key[:]) {
			t.Fatalf("accepts %d of %x", count, der)
		}
	})
}

func FuzzIdentityFile(f *testing.F) {
	i := newIdentityT(f)
	der, err := x509.MarshalPKCS8PrivateKey(i.private)
	if err != nil {
		f.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	f.Add(text)
	f.Add(text[:50])
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := parseIdentity(data)
		if err != nil {
			return
		}
		public := i.Public()
		if i.ID() != topology.IDOf(public[:]) || i.ID().IsZero() {
			t.Fatal("an identity without an id")
		}
	})
}

// FuzzPieces delivers any pieces to the streams of a node.
func FuzzPieces(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 1, 1, 0, 0, 1, 0, 2, 1})
	f.Add([]byte{1, 0, 1, 1, 0, 0, 0, 1, 0, 5, 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var conns []*RoutedConn
		self := topology.NodeID{9}
		s := NewStreams(self, func(p topology.Routed) error {
			if p.From != self {
				t.Fatalf("speaks for %s", p.From)
			}
			return nil
		}, func(c *RoutedConn) { conns = append(conns, c) })
		for len(data) >= 4 {
			s.Deliver(topology.Routed{
				From: topology.NodeID{data[0]}, To: self, Stream: uint64(data[1] & 3), Opener: data[1]&4 != 0,
				Fin: data[1]&8 != 0, Seq: uint64(data[2]), Data: data[:4], Hops: 1,
			})
			data = data[4:]
		}
		if len(s.open) > maxStreams || len(conns) > len(s.open) {
			t.Fatalf("%d streams, %d accepted", len(s.open), len(conns))
		}
		for _, c := range conns {
			got := make([]byte, len(c.received))
			if _, err := io.ReadFull(c, got); err != nil || len(got)%4 != 0 || len(got) > 0 && binary.BigEndian.Uint32(got) == 0 && got[0] != c.peer[0] {
				t.Fatalf("read %x, %v", got, err)
			}
			c.Close()
		}
		if len(s.open) != 0 {
			t.Fatal("streams left over")
		}
	})
}
