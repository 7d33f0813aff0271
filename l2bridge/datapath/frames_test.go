package datapath

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/learner"
)

// randomFrame makes a frame of 60 bytes to the MTU: tagged or not, IPv4, IPv6, LLC or anything else, to a station, a
// group or nobody. A number in it tells it from all others.
func randomFrame(r *rand.Rand, number uint64, to learner.MAC) []byte {
	dst := []learner.MAC{to, to, to, learner.Broadcast, {0x33, 0x33, 0, 0, 0, 9}, {2, 9, byte(r.Uint32()), 1, 1, 1}}[r.IntN(6)]
	src := learner.MAC{2, 0x77, 0, 0, 0, byte(r.UintN(4))}
	b := append(append([]byte{}, dst[:]...), src[:]...)
	tags := []int{0, 0, 0, 1, 2}[r.IntN(5)]
	for i := range tags {
		tpid := uint16(l2bridge.EtherTypeVLAN)
		if tags == 2 && i == 0 {
			tpid = l2bridge.EtherTypeQinQ
		}
		b = binary.BigEndian.AppendUint16(b, tpid)
		b = binary.BigEndian.AppendUint16(b, uint16(r.UintN(8)<<13|r.UintN(4095)))
	}
	most := testMTU // and one C-tag more, but no S-tag: more no interface takes
	if tags == 2 {
		most -= 2 * l2bridge.VLANTag
	}
	payload := 46 + r.IntN(most-46+1)
	if r.IntN(8) == 0 {
		payload = most
	}
	kind := []uint16{0x0800, 0x86dd, 0x0806, 0x88b5, 0x9000, uint16(payload), 0x6003}[r.IntN(7)]
	if kind < 0x600 || payload <= 1500 && kind == uint16(payload) {
		kind = min(kind, 1500)
	}
	b = binary.BigEndian.AppendUint16(b, kind)
	at := len(b)
	b = append(b, make([]byte, payload)...)
	for i := at; i < len(b); i++ {
		b[i] = byte(r.Uint32())
	}
	binary.BigEndian.PutUint64(b[len(b)-8:], number)
	return b
}

// frameCount is 10⁵, or what `make soak` asks for.
func frameCount(t *testing.T) int {
	s := os.Getenv("WEAVEWG_TEST_FRAMES")
	if s == "" {
		return 100_000
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("WEAVEWG_TEST_FRAMES=%q is no count", s)
	}
	return n
}

func TestRandomFramesArriveUnchangedOnceAndInOrder(t *testing.T) {
	hosts := newHosts(t, 2)
	out, in := hosts[0].raw(), hosts[1].raw()
	got := reading(in, func(b []byte) bool { return len(b) > 12 && b[6] == 2 && b[7] == 0x77 })
	to := learner.MAC(hosts[1].mac)
	r := rand.New(rand.NewPCG(1, 2))
	total := frameCount(t)
	const window = 64 // frames under way: a modest rate, whatever the machine
	var waiting [][]byte
	seed := time.Now()
	timeout := time.NewTimer(0)
	for sent := 0; sent < total || len(waiting) > 0; {
		for ; sent < total && len(waiting) < window; sent++ {
			f := randomFrame(r, uint64(sent), to)
			emit(t, out, f)
			waiting = append(waiting, f)
		}
		timeout.Reset(5 * time.Second)
		select {
		case b := <-got:
			if !bytes.Equal(b, waiting[0]) {
				t.Fatalf("frame %d: %d bytes sent, %d received, lost, changed or twice\n%x\n%x\n%+v",
					sent-len(waiting), len(waiting[0]), len(b), waiting[0], b, hosts[0].dp.Stats().Drops)
			}
			waiting = waiting[1:]
		case <-timeout.C:
			t.Fatalf("frame %d of %d bytes was lost:\n%x\nout %+v\nin %+v", sent-len(waiting), len(waiting[0]), waiting[0],
				hosts[0].dp.Stats(), hosts[1].dp.Stats())
		}
	}
	t.Logf("%d frames in %v", total, time.Since(seed).Round(time.Millisecond))
	select {
	case b := <-got:
		t.Fatalf("one frame too many: %x", b)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestBroadcastReachesEveryMemberOnceAndNeverComesBack(t *testing.T) {
	hosts := newHosts(t, 3)
	mine := func(b []byte) bool { return len(b) == 60 && b[6] == 2 && b[7] == 0x77 }
	first := hosts[0].raw()
	back := reading(first, mine)
	there := []<-chan []byte{reading(hosts[1].raw(), mine), reading(hosts[2].raw(), mine)}
	for i := range 100 {
		f := append(append([]byte{}, learner.Broadcast[:]...), 2, 0x77, 0, 0, 0, 1, 0x88, 0xb5)
		f = append(f, make([]byte, 46)...)
		f[59] = byte(i)
		emit(t, first, f)
	}
	for _, c := range there {
		for i := range 100 {
			select {
			case b := <-c:
				if b[59] != byte(i) {
					t.Fatalf("frame %d instead of %d", b[59], i)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("frame %d did not arrive", i)
			}
		}
	}
	for _, c := range append(there, back) {
		select {
		case b := <-c:
			t.Fatalf("a frame too many: %x", b)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestAStationThatMovesIsReachedAtOnce(t *testing.T) {
	hosts := newHosts(t, 3)
	station := learner.MAC{2, 0x55, 0, 0, 0, 1}
	sockets := []*stationPort{}
	for _, h := range hosts {
		p := h.raw()
		sockets = append(sockets, &stationPort{write: func(b []byte) { emit(t, p, b) }, got: reading(p, func(b []byte) bool {
			return len(b) > 12 && learner.MAC(b[:6]) == station
		})})
	}
	announce := append(append([]byte{}, learner.Broadcast[:]...), station[:]...)
	announce = append(announce, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1)
	announce = append(append(announce, station[:]...), 10, 32, 0, 99)
	announce = append(append(announce, 0, 0, 0, 0, 0, 0), 10, 32, 0, 99)
	announce = append(announce, make([]byte, 18)...)
	for round, at := range []int{1, 2, 1, 0, 2} {
		sockets[at].write(announce)
		moved := time.Now()
		for from := range hosts {
			if from == at {
				continue
			}
			probe := append(append([]byte{}, station[:]...), 2, 0x66, 0, 0, 0, byte(from), 0x88, 0xb5)
			probe = append(probe, make([]byte, 46)...)
			probe[20], probe[21] = byte(round), byte(from)
			sockets[from].until(t, sockets[at], probe)
		}
		if took := time.Since(moved); took > 200*time.Millisecond {
			t.Errorf("round %d: reached from everywhere after %v", round, took)
		}
		for i, h := range hosts {
			want := hosts[at].id
			if i == at {
				want = learner.Local
			}
			eventually(t, time.Second, "learnt where the station is", func() bool {
				for _, e := range h.dp.MACs()[0].MACs {
					if e.MAC == station {
						return e.Owner == want && len(e.IPs) == 1
					}
				}
				return false
			})
		}
	}
	if c := hosts[0].dp.MACs()[0].Counters; c.Moved < 4 || c.Flapped < 3 {
		t.Errorf("moves were not counted: %+v", c)
	}
}

type stationPort struct {
	write func([]byte)
	got   <-chan []byte
}

// until sends the probe every 5 ms until it is received at the other.
func (s *stationPort) until(t *testing.T, at *stationPort, probe []byte) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(5 * time.Second)
	s.write(probe)
	for {
		select {
		case b := <-at.got:
			if bytes.Equal(b, probe) {
				return
			}
		case <-tick.C:
			s.write(probe)
		case <-limit:
			t.Fatal("the station was not reached")
		}
	}
}
