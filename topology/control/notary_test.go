package control

import (
	"errors"
	"strings"
	"testing"

	"github.com/weavewg/weavewg/topology"
)

func notaryOf(t testing.TB, identity *Identity, mesh string, secrets ...string) topology.Notary {
	t.Helper()
	n, err := NewNotary(identity, mesh, parseSecrets(t, secrets...))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNotary(t *testing.T) {
	alpha, beta := newIdentityT(t), newIdentityT(t)
	record := testRecord(alpha, [8]byte{1})
	sealed, err := notaryOf(t, alpha, "home", secretA).Seal(record)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		by   topology.Notary
		want string
	}{
		{"same secret", notaryOf(t, beta, "home", secretA), ""},
		{"among others", notaryOf(t, beta, "home", secretB, secretA), ""},
		{"other secret", notaryOf(t, beta, "home", secretB), "nobody with our secret vouches"},
		{"other mesh", notaryOf(t, beta, "work", secretA), "nobody with our secret vouches"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := c.by.Open(sealed)
			switch {
			case c.want == "" && (err != nil || r.ID() != alpha.ID() || r.Name != "alpha"):
				t.Fatalf("%+v %v", r, err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Fatalf("got %v", err)
			}
		})
	}
	both, err := notaryOf(t, alpha, "home", secretB, secretA).Seal(record)
	if err != nil || len(both.Proof) != 2*vouchSize {
		t.Fatalf("proof of %d bytes, %v", len(both.Proof), err)
	}
	for _, secret := range []string{secretA, secretB} { // whoever has not reordered its secrets yet can open it too
		if _, err := notaryOf(t, beta, "home", secret).Open(both); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := notaryOf(t, beta, "home", secretA).Seal(record); err == nil {
		t.Fatal("beta sealed a record of alpha")
	}
	if _, err := notaryOf(t, alpha, "home", secretA).Seal(&topology.Record{Key: alpha.Public()}); err == nil {
		t.Fatal("sealed a record that nobody accepts")
	}
}

func TestNotaryFindsEveryChange(t *testing.T) {
	alpha := newIdentityT(t)
	n := notaryOf(t, alpha, "home", secretA)
	sealed, err := n.Seal(testRecord(alpha, [8]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	clone := func() topology.Sealed {
		return topology.Sealed{
			Body: append([]byte(nil), sealed.Body...), Sig: append([]byte(nil), sealed.Sig...), Proof: append([]byte(nil), sealed.Proof...),
		}
	}
	for i := range len(sealed.Body) + len(sealed.Sig) + len(sealed.Proof) {
		s := clone()
		part, at := s.Body, i
		for _, next := range [][]byte{s.Sig, s.Proof} {
			if at >= len(part) {
				part, at = next, at-len(part)
			}
		}
		part[at] ^= 1
		if _, err := n.Open(s); err == nil {
			t.Fatalf("byte %d changed, and opened", i)
		}
	}
	for name, s := range map[string]topology.Sealed{
		"empty":          {},
		"huge body":      {Body: make([]byte, topology.MaxRecord+1), Sig: sealed.Sig, Proof: sealed.Proof},
		"short sig":      {Body: sealed.Body, Sig: sealed.Sig[:63], Proof: sealed.Proof},
		"short proof":    {Body: sealed.Body, Sig: sealed.Sig, Proof: sealed.Proof[:15]},
		"empty proof":    {Body: sealed.Body, Sig: sealed.Sig},
		"trailing bytes": {Body: append(clone().Body, 0), Sig: sealed.Sig, Proof: sealed.Proof},
	} {
		if _, err := n.Open(s); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	bad := clone()
	bad.Sig[0] ^= 1
	if _, err := n.Open(bad); !errors.Is(err, errBadSignature) {
		t.Fatalf("got %v", err)
	}
}
