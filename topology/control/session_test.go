package control

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weavewg/weavewg/topology"
)

func ping(n uint64) topology.Message { return topology.Message{Ping: &topology.Ping{Nonce: n}} }

func TestSessionOverPipe(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	sa, sb := pair(t, a, b)
	if sa.Peer != b.identity.ID() || sb.Peer != a.identity.ID() {
		t.Fatalf("peers %s, %s", sa.Peer, sb.Peer)
	}
	if sa.Export != sb.Export || sa.Export == [32]byte{} {
		t.Fatal("exports differ")
	}
	if !sa.Dialled || sb.Dialled {
		t.Fatal("who dialled")
	}
	ctx := within(t, 5*time.Second)
	for i := range uint64(100) {
		if err := sa.Send(ctx, ping(i)); err != nil {
			t.Fatal(err)
		}
		if m, err := sb.Receive(ctx); err != nil || m.Ping == nil || m.Ping.Nonce != i {
			t.Fatalf("received %+v, %v", m, err)
		}
	}
	if err := sb.Send(ctx, ping(7)); err != nil {
		t.Fatal(err)
	}
	sb.Close("tired")
	if m, err := sa.Receive(ctx); err != nil || m.Ping == nil {
		t.Fatalf("what was sent before Close: %+v, %v", m, err)
	}
	if m, err := sa.Receive(ctx); err != nil || m.Bye == nil || m.Bye.Reason != "tired" {
		t.Fatalf("goodbye: %+v, %v", m, err)
	}
	if _, err := sa.Receive(ctx); err == nil || !strings.Contains(err.Error(), "closed by the peer: tired") {
		t.Fatalf("end: %v", err)
	}
	if err := sb.Send(ctx, ping(1)); !errors.Is(err, ErrClosed) {
		t.Fatalf("send after close: %v", err)
	}
}

func TestSessionOverTCP(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	_, target, sessions := serve(t, b)
	ctx := within(t, 5*time.Second)
	sa, err := a.Dial(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	defer sa.Close("")
	sb := <-sessions
	defer sb.Close("")
	if sa.Remote.String() != target || sb.Local.String() != target || sa.Local != sb.Remote {
		t.Fatalf("addresses %v %v %v %v", sa.Remote, sb.Local, sa.Local, sb.Remote)
	}
	if err := sa.Send(ctx, ping(3)); err != nil {
		t.Fatal(err)
	}
	if m, err := sb.Receive(ctx); err != nil || m.Ping.Nonce != 3 {
		t.Fatalf("%+v %v", m, err)
	}
}
