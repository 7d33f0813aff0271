package lab

import (
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// Records are recognised however they are cut into segments, in whatever order those come, and however often.
func TestTLSStreamInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var stream []byte
		records := rapid.IntRange(1, 5).Draw(t, "records")
		for range records {
			n := 1 + rnd.IntN(300)
			stream = append(stream, byte(20+rnd.IntN(4)), 3, 3, byte(n>>8), byte(n))
			for range n {
				stream = append(stream, byte(rnd.Uint32()))
			}
		}
		first := rnd.Uint32()
		var segments []Packet
		for at := 0; at < len(stream); {
			n := min(1+rnd.IntN(200), len(stream)-at)
			segments = append(segments, Packet{Protocol: 6, Seq: first + 1 + uint32(at), Payload: stream[at : at+n]})
			at += n
		}
		for range len(segments) / 3 {
			segments = append(segments, segments[rnd.IntN(len(segments))])
		}
		rnd.Shuffle(len(segments), func(i, j int) { segments[i], segments[j] = segments[j], segments[i] })
		var s TLSStream
		if err := s.Take(Packet{SYN: true, Seq: first}); err != nil {
			t.Fatal(err)
		}
		for _, p := range segments {
			if err := s.Take(p); err != nil {
				t.Fatal(err)
			}
		}
		if s.Records != records || s.Gap() {
			t.Fatalf("%d of %d records, gap %v", s.Records, records, s.Gap())
		}
	})
}

func TestTLSStreamRefusesOtherBytes(t *testing.T) {
	var s TLSStream
	for _, p := range []Packet{{SYN: true, Seq: 9}, {Seq: 10, Payload: []byte{22, 3, 1, 0, 2, 1, 1}}} {
		if err := s.Take(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Take(Packet{Seq: 17, Payload: []byte("GET / HTTP/1.1")}); err == nil {
		t.Error("HTTP passed for TLS")
	}
}
