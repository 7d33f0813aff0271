package scout

import (
	"net/netip"
	"testing"
	"time"
)

var (
	deskTime = time.Unix(1000, 0)
	afar     = netip.MustParseAddrPort("192.0.2.1:6783")
	elsewise = netip.MustParseAddrPort("[2001:db8::1]:6784")
)

func TestDesk(t *testing.T) {
	ours, theirs := DeriveKey([32]byte{1}, []byte("a")), DeriveKey([32]byte{1}, []byte("b"))
	var a, b Desk
	b.Listen([]Key{ours})
	request := a.Ask(deskTime, ours, Message{Kind: Request, Tx: 7, Counter: 3, Size: 200})
	answer, m, ok := b.Hear(deskTime, afar, request)
	if !ok || m.Kind != Request || m.Counter != 3 || m.Size != 200 || len(answer) != Length {
		t.Fatalf("request: %+v, %v, an answer of %d bytes", m, ok, len(answer))
	}
	if back, m, ok := a.Hear(deskTime.Add(Memory), elsewise, answer); !ok || back != nil || m.Kind != Answer || m.Tx != 7 || m.Observed != afar {
		t.Errorf("answer: %+v, %v, answered with %x", m, ok, back)
	}
	if _, _, ok := a.Hear(deskTime.Add(Memory), elsewise, answer); !ok {
		t.Error("the second answer, by another way, does not count")
	}

	refused := map[string]struct {
		desk *Desk
		at   time.Duration
		data []byte
	}{
		"an answer that is too old":           {&a, Memory + 1, answer},
		"an answer to what was not asked":     {&b, 0, answer},
		"a request by an unknown key":         {&b, 0, Encode(theirs, Message{Kind: Request, Tx: 8})},
		"a request by a key that only speaks": {&a, 0, Encode(ours, Message{Kind: Request, Tx: 9})},
		"its own request":                     {&a, 0, request},
		"an answer that begins a talk":        {&b, 0, Encode(ours, Message{Kind: Answer, Tx: 10})},
		"garbage":                             {&a, 0, []byte("wvwg")},
	}
	for what, r := range refused {
		if answer, m, ok := r.desk.Hear(deskTime.Add(r.at), afar, r.data); ok || answer != nil {
			t.Errorf("%s: taken as %+v", what, m)
		}
	}
}

// Who listens for a key that it also asks with, as both ends of a relay's leg do, does not answer itself.
func TestDeskKnowsItsOwnRequests(t *testing.T) {
	key := DeriveKey([32]byte{1}, []byte("leg"))
	var d Desk
	d.Listen([]Key{key})
	own := d.Ask(deskTime, key, Message{Kind: Request, Tx: 7})
	if answer, _, ok := d.Hear(deskTime, afar, own); ok || answer != nil {
		t.Error("a request that came back was answered")
	}
	if answer, _, ok := d.Hear(deskTime, afar, Encode(key, Message{Kind: Request, Tx: 8})); !ok || answer == nil {
		t.Error("a request of the other side was not")
	}
}

// Requests that nobody answers are forgotten.
func TestDeskForgets(t *testing.T) {
	key := DeriveKey([32]byte{1}, []byte("a"))
	var d Desk
	for i := range uint64(10000) {
		d.Ask(deskTime.Add(time.Duration(i)*10*time.Millisecond), key, Message{Kind: Request, Tx: i})
	}
	if n := len(d.asked); n > 1001 {
		t.Errorf("remembers %d requests, want those of 10 s at most", n)
	}
}
