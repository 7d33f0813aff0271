package carrier

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"
)

// frame returns a datagram as it travels.
func frame(datagram string) string {
	return string([]byte{byte(len(datagram) >> 8), byte(len(datagram))}) + datagram
}

func TestQueueKeepsOrder(t *testing.T) {
	q := newQueue()
	random := rand.New(rand.NewPCG(1, 2))
	var model []string // what should be in the queue
	bytesIn := 0
	out := make([]byte, 0, mostOnce)
	for i := range 20000 {
		if random.IntN(3) > 0 {
			d := make([]byte, 1+random.IntN(3000))
			pattern(d, i, 3)
			fits := len(model) < queueDatagrams && bytesIn+frameHeader+len(d) <= queueBytes
			if q.put(0, d) != fits {
				t.Fatalf("%d datagrams, %d bytes in the queue: put says %v", len(model), bytesIn, !fits)
			}
			if fits {
				model = append(model, frame(string(d)))
				bytesIn += frameHeader + len(d)
			}
			continue
		}
		limit := random.IntN(mostOnce)
		var want string
		for len(model) > 0 && (want == "" || len(want)+len(model[0]) <= limit) {
			want += model[0]
			bytesIn -= len(model[0])
			model = model[1:]
		}
		got, lost := q.take(0, out, limit)
		if string(got) != want || lost != 0 {
			t.Fatalf("took %d bytes, want %d; lost %d", len(got), len(want), lost)
		}
	}
}

func TestQueueForgetsWhatIsOld(t *testing.T) {
	q := newQueue()
	for i := range 10 {
		q.put(time.Duration(i)*100*time.Millisecond, []byte{byte(i)})
	}
	got, lost := q.take(900*time.Millisecond, nil, mostOnce)
	if want := frame("\x07") + frame("\x08") + frame("\x09"); string(got) != want || lost != 7 {
		t.Errorf("%x, lost %d", got, lost)
	}
	for q.put(0, make([]byte, 1)) {
	}
	if got, lost := q.take(time.Second, nil, mostOnce); len(got) != 0 || lost != queueDatagrams || q.used != 0 {
		t.Errorf("%d bytes, lost %d, %d left", len(got), lost, q.used)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	q, d := newQueue(), new(deframer)
	datagram, out := make([]byte, 1400), make([]byte, 0, mostOnce)
	r := new(bytes.Reader)
	if n := testing.AllocsPerRun(1000, func() {
		for range 40 {
			q.put(0, datagram)
		}
		q.signal()
		frames, _ := q.take(0, out, mostOnce)
		r.Reset(frames)
		if err := d.fill(r); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			if _, ok, err := d.next(); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for 40 datagrams", n)
	}
}

func FuzzDeframer(f *testing.F) {
	f.Add([]byte{}, 1)
	f.Add([]byte(frame("one")+frame("")+frame("three")), 1)
	f.Add([]byte(frame("one")+"\xff\xff"), 2)
	f.Add(append([]byte(frame(string(make([]byte, maxDatagram)))), 0, 9, 1), 1000)
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		var want []string
		broken := false
		for rest := stream; len(rest) >= 2; {
			n := int(rest[0])<<8 | int(rest[1])
			if broken = n > maxDatagram; broken || len(rest) < 2+n {
				break
			}
			want = append(want, string(rest[2:2+n]))
			rest = rest[2+n:]
		}
		d := new(deframer)
		r := io.Reader(bytes.NewReader(stream))
		if piece > 0 {
			r = &pieces{r, piece}
		}
		if piece%2 == 0 {
			r = iotest.DataErrReader(r)
		}
		for {
			b, ok, err := d.next()
			switch {
			case err != nil:
				if !broken || len(want) > 0 {
					t.Fatalf("%v with %d datagrams left", err, len(want))
				}
				return
			case ok:
				if len(want) == 0 || string(b) != want[0] {
					t.Fatalf("%d bytes too many or wrong", len(b))
				}
				want = want[1:]
				continue
			}
			if err := d.fill(r); err != nil {
				if len(want) > 0 || broken {
					t.Fatalf("ended with %d datagrams left, broken: %v", len(want), broken)
				}
				return
			}
		}
	})
}

// pieces reads so many bytes at a time.
type pieces struct {
	r    io.Reader
	size int
}

func (p *pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.size)]) }
