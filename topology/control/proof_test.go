package control

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
)

// TestReplayedKnockFailsTheProof: a node that has not seen the knock answers it, and gets no further than TLS.
func TestReplayedKnockFailsTheProof(t *testing.T) {
	node := newNode(t, nil)
	seen := newKnock(node.keys[0]) // overheard
	fresh, err := newIdentityT(t).certificate()
	if err != nil {
		t.Fatal(err)
	}
	config := tlsConfig(fresh)
	config.ServerName = seen
	for name, proof := range map[string][]byte{
		"random": bytes.Repeat([]byte{7}, 32), "short": make([]byte, 31), "long": make([]byte, 8000), "none": nil,
	} {
		node.replays = newReplays(replaysKept) // the node has forgotten
		var got []byte
		err := clientError(t, node, config, func(c *tls.Conn) {
			_, _ = c.Write(proof)
			_ = c.CloseWrite()
			got, _ = io.ReadAll(c)
		})
		if err == nil || errors.Is(err, ErrNoKnock) {
			t.Errorf("%s: %v", name, err)
		}
		if len(got) > 0 {
			t.Errorf("%s: told %q", name, got)
		}
		t.Log(err)
	}
	if err := clientError(t, node, config, nil); !errors.Is(err, ErrNoKnock) {
		t.Fatalf("the replay that it remembers: %v", err)
	}
}

// TestProofCannotBePassedOn puts somebody between two members: TLS to both with a key of its own, the knock and the
// proofs passed on as they come.
func TestProofCannotBePassedOn(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	own, err := newIdentityT(t).certificate()
	if err != nil {
		t.Fatal(err)
	}
	aEnd, mA := tcpPair(t)
	bEnd, mB := tcpPair(t)
	var tasks sync.WaitGroup
	tasks.Go(func() {
		defer mA.Close()
		defer mB.Close()
		toA := tls.Server(mA, tlsConfig(own))
		if err := toA.Handshake(); err != nil {
			t.Errorf("in between, with a: %v", err)
			return
		}
		config := tlsConfig(own)
		config.ServerName = toA.ConnectionState().ServerName // the knock of a, which b has not seen
		toB := tls.Client(mB, config)
		if err := toB.Handshake(); err != nil {
			t.Errorf("in between, with b: %v", err)
			return
		}
		back := make(chan struct{})
		go func() { defer close(back); _, _ = io.Copy(toA, toB); mA.Close() }()
		_, _ = io.Copy(toB, toA)
		mB.Close()
		<-back
	})
	ra, rb := meetOver(t, a, b, aEnd, bEnd)
	tasks.Wait()
	if ra.session != nil || rb.session != nil {
		t.Fatal("somebody in between went unnoticed")
	}
	if kindOf(ra.err) != Silent || kindOf(rb.err) != Silent || !strings.Contains(rb.err.Error(), "somebody in between") {
		t.Fatalf("%v, %v", ra.err, rb.err)
	}
}

// TestProofIsOfItsSession: who once held the secret, and kept the proof that it made, cannot use it again.
func TestProofIsOfItsSession(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	var kept []byte
	for attempt := range 2 {
		config := a.tls.Clone()
		config.ServerName = newKnock(a.keys[0])
		err := clientError(t, b, config, func(c *tls.Conn) {
			if attempt == 0 {
				state := c.ConnectionState()
				key, err := verifyPeer(state)
				if err != nil {
					t.Error(err)
					return
				}
				export, err := state.ExportKeyingMaterial(proofLabel, nil, exportSize)
				if err != nil {
					t.Error(err)
					return
				}
				kept = a.proof(&secured{key: key, dialled: true, proof: export}, a.keys[0], dialler)
			}
			_, _ = c.Write(kept)
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		})
		if attempt == 0 && (err == nil || !strings.Contains(err.Error(), "hello: EOF")) {
			t.Fatalf("its own proof: %v", err)
		}
		if attempt == 1 && (kindOf(err) != Silent || !strings.Contains(err.Error(), "cannot prove")) {
			t.Fatalf("the kept proof: %v", err)
		}
	}
}

// TestProofNamesEverything: each thing that a proof is bound to changes it.
func TestProofNamesEverything(t *testing.T) {
	a, b := newNode(t, nil, secretA, secretB), newNode(t, nil)
	to := func(n *testNode) *secured {
		return &secured{key: n.identity.public, dialled: true, proof: []byte("one session")}
	}
	base := to(b)
	other := to(b)
	other.proof = []byte("two session")
	accepted := to(b)
	accepted.dialled = false
	all := map[string][]byte{
		"base": a.proof(base, a.keys[0], dialler), "secret": a.proof(base, a.keys[1], dialler),
		"session": a.proof(other, a.keys[0], dialler), "role": a.proof(base, a.keys[0], acceptor),
		"peer": a.proof(to(newNode(t, nil)), a.keys[0], dialler), "direction": a.proof(accepted, a.keys[0], dialler),
		"self": a.proof(to(a), a.keys[0], dialler), "self, role": a.proof(to(a), a.keys[0], acceptor),
	}
	for x, p := range all {
		for y, q := range all {
			if x != y && bytes.Equal(p, q) {
				t.Errorf("%s and %s have the same proof", x, y)
			}
		}
	}
	back := &secured{key: a.identity.public, dialled: false, proof: []byte("one session")}
	if !bytes.Equal(all["base"], b.proof(back, b.keys[0], dialler)) {
		t.Error("the two ends disagree")
	}
}

// TestDiallerWantsAProof lets an impostor answer the dialler: it mirrors the dialler's own proof, or sends nonsense.
func TestDiallerWantsAProof(t *testing.T) {
	for _, mirror := range []bool{true, false} {
		a := newNode(t, nil)
		own, err := newIdentityT(t).certificate()
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := tcpPair(t)
		done := make(chan int)
		go func() {
			defer ours.Close()
			conn := tls.Server(ours, tlsConfig(own))
			proof := make([]byte, exportSize)
			_, _ = io.ReadFull(conn, proof)
			if !mirror {
				proof = make([]byte, exportSize)
			}
			_, _ = conn.Write(proof)
			more, _ := io.ReadAll(conn)
			done <- len(more)
		}()
		_, err = a.Initiate(context.Background(), theirs)
		if kindOf(err) != Silent || !strings.Contains(err.Error(), "cannot prove the mesh secret") {
			t.Fatalf("got %v", err)
		}
		if told := <-done; told > 0 {
			t.Fatalf("told the impostor %d bytes", told)
		}
	}
}
