package forwarder

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/integration/lab"
	"github.com/weavewg/weavewg/wgmesh/relay"
)

const (
	dataSize = 1452      // UDP payload of a full WireGuard packet in an Ethernet frame
	window   = 512 << 10 // bytes of a pair that may be under way, as TCP inside a tunnel has
	pairs    = 4
)

// road is a host of sources, two routers that are relays too, and a host of sinks, by three cables.
type road struct {
	a, r1, r2, b *lab.Host
	relays       []*Forwarder
	flows        []*traffic
}

// traffic is one pair of sockets, with what was agreed for each way.
type traffic struct {
	source, sink *socket
	index        uint32
	sent, got    atomic.Int64
	credit       chan struct{}
}

var roadPrefixes = []string{"10.1.0.", "10.2.0.", "10.3.0."} // a–r1, r1–r2, r2–b

func ipOf(cable, end int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprint(roadPrefixes[cable], end))
}

func newRoad(b *testing.B, offloads bool) *road {
	l, err := lab.New()
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	r := &road{}
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	for host, name := range map[**lab.Host]string{&r.a: "a", &r.b: "b", &r.r1: "r1", &r.r2: "r2"} {
		*host, err = l.Router(name)
		must(err)
	}
	must(cable(r.a, r.r1, 0, offloads))
	must(cable(r.r1, r.r2, 1, offloads))
	must(cable(r.r2, r.b, 2, offloads))
	all := netip.MustParsePrefix("10.0.0.0/8")
	must(errors.Join(r.a.AddRoute(all, ipOf(0, 2)), r.r1.AddRoute(all, ipOf(1, 2)), r.r2.AddRoute(all, ipOf(1, 1)), r.b.AddRoute(all, ipOf(2, 1))))

	for _, host := range []*lab.Host{r.r1, r.r2} {
		var f *Forwarder
		must(host.Do(func() (err error) { f, err = Open(6786, relay.Limits{}, zap.NewNop()); return err }))
		runs(b, f)
		go func() {
			for range f.Events() {
			}
		}()
		r.relays = append(r.relays, f)
	}
	for n := range pairs {
		t := &traffic{index: uint32(2000 + n), credit: make(chan struct{}, 1)}
		must(r.a.Do(func() (err error) { t.source, err = openSocket(unix.AF_INET, 0, zap.NewNop()); return err }))
		must(r.b.Do(func() (err error) { t.sink, err = openSocket(unix.AF_INET, 0, zap.NewNop()); return err }))
		b.Cleanup(func() { t.source.close(); t.sink.close() })
		must(r.agree(t, byte(n)))
		r.flows = append(r.flows, t)
	}
	return r
}

// cable joins two hosts.
func cable(x, y *lab.Host, n int, offloads bool) error {
	to, err := os.Open(y.Path())
	if err != nil {
		return err
	}
	defer to.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprintf("c%d", n)
	attrs.TxQLen = 1000
	if err := x.Netlink().LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: attrs.Name, PeerNamespace: netlink.NsFd(to.Fd())}); err != nil {
		return err
	}
	for i, host := range []*lab.Host{x, y} {
		link, err := host.Netlink().LinkByName(attrs.Name)
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(ipOf(n, i+1).String() + "/24")
		if err != nil {
			return err
		}
		if err := errors.Join(host.Netlink().AddrAdd(link, addr), host.Netlink().LinkSetUp(link), host.Do(func() error { return setOffloads(attrs.Name, offloads) })); err != nil {
			return err
		}
	}
	return nil
}

// setOffloads switches, as integration/bench does, what joins and cuts packets.
func setOffloads(dev string, on bool) error {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return err
	}
	defer tool.Close()
	features, err := tool.FeaturesWithState(dev)
	if err != nil {
		return err
	}
	change := map[string]bool{}
	for name, state := range features {
		joins := strings.HasPrefix(name, "tx-") && strings.HasSuffix(name, "-segmentation") || strings.HasPrefix(name, "rx-gro")
		if joins && state.Available && name != "rx-gro-list" {
			change[name] = on
		}
	}
	return tool.Change(dev, change)
}

// agree binds a pair on both relays, and opens a session through them.
func (r *road) agree(t *traffic, n byte) error {
	source, err := t.source.port()
	if err != nil {
		return err
	}
	sink, err := t.sink.port()
	if err != nil {
		return err
	}
	b := pair(n, [32]byte{n, 1}, [32]byte{n, 2})
	at := netip.AddrPortFrom
	legs := [][2]netip.AddrPort{
		{at(ipOf(0, 1), source), at(ipOf(1, 2), 6786)},
		{at(ipOf(1, 1), 6786), at(ipOf(2, 2), sink)},
	}
	for i, f := range r.relays {
		b.Legs[0].Addr, b.Legs[1].Addr = legs[i][0], legs[i][1]
		if err := f.Bind(b); err != nil {
			return err
		}
		now := time.Now()
		f.mu.Lock()
		for leg := range 2 {
			if _, proven := f.table.Hear(now, legs[i][leg], answered(f.table.Register(now, b.ID, leg, uint64(1+leg)), b.Legs[leg])); proven == nil {
				return errors.New("not proven")
			}
		}
		p := make([]byte, 148)
		p[0], p[4] = 1, n
		f.table.Packet(now, legs[i][0], putMAC1(p, b.Legs[1].Key))
		p = data(t.index, 92, uint64(n))
		p[0] = 2
		_, why := f.table.Packet(now, legs[i][1], putMAC1(p, b.Legs[0].Key))
		f.mu.Unlock()
		if why != relay.Forwarded {
			return errors.New(why.String())
		}
	}
	return nil
}

// run lets all pairs send for a while, by the relays or by the kernel's forwarding, and returns what arrived, in bits a
// second.
func (r *road) run(relayed, offloads bool, d time.Duration) (float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	var all sync.WaitGroup
	errs := make(chan error, 2*pairs)
	begin := time.Now()
	var before int64
	for _, t := range r.flows {
		before += t.got.Load()
		port, err := t.sink.port()
		if err != nil {
			return 0, err
		}
		to := netip.AddrPortFrom(ipOf(2, 2), port)
		if relayed {
			to = netip.AddrPortFrom(ipOf(0, 2), 6786)
		}
		all.Go(func() { errs <- t.send(ctx, to, offloads) })
	}
	all.Wait()
	var got int64
	for _, t := range r.flows {
		got += t.got.Load()
	}
	rate := float64(got-before) * 8 / time.Since(begin).Seconds()
	close(errs)
	for err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return rate, nil
}

// send keeps a window full. Without news for a while it takes what is under way for lost.
func (t *traffic) send(ctx context.Context, to netip.AddrPort, offloads bool) error {
	o := newSender(t.source)
	var failure error
	o.failed = func(_ int, err error) { failure = err }
	t.source.gso.Store(offloads)
	p := data(t.index, dataSize, 0)
	const chunk = 44 // datagrams: what WireGuard makes of 64 kB
	for ctx.Err() == nil && failure == nil {
		if t.sent.Load()-t.got.Load() > window {
			select {
			case <-ctx.Done():
			case <-t.credit:
			case <-time.After(20 * time.Millisecond):
				t.sent.Store(t.got.Load())
			}
			continue
		}
		for range chunk {
			o.add(session{to: to, index: t.index}, p, len(p))
		}
		t.sent.Add(chunk * dataSize)
		o.flush()
	}
	return failure
}

// receive counts what arrives until the socket is closed.
func (t *traffic) receive() error {
	in := newReceiver(t.sink)
	for {
		n, err := in.read()
		if err != nil {
			return err
		}
		for i := range n {
			_, p, _, _ := in.packet(i)
			t.got.Add(int64(len(p)))
		}
		select {
		case t.credit <- struct{}{}:
		default:
		}
	}
}

// The relay against the same packets that the kernel forwards through the same hosts: four pairs over one hop between
// relays, in turn.
//
//	go test -run '^$' -bench KernelForwarding -benchtime 9x ./wgmesh/forwarder
func BenchmarkAgainstKernelForwarding(b *testing.B) {
	for _, offloads := range []bool{true, false} {
		b.Run(fmt.Sprintf("offloads=%v", offloads), func(b *testing.B) {
			r := newRoad(b, offloads)
			var ends sync.WaitGroup
			for _, t := range r.flows {
				ends.Go(func() {
					if err := t.receive(); !errors.Is(err, os.ErrClosed) {
						b.Error(err)
					}
				})
			}
			var kernel, relayed, ratios, work []float64
			for b.Loop() {
				var perByte [2]float64
				for i, way := range []bool{false, true} {
					used := processorTime()
					rate, err := r.run(way, offloads, 500*time.Millisecond)
					if err != nil {
						b.Fatal(err)
					}
					perByte[i] = (processorTime() - used).Seconds() / rate
					if way {
						relayed = append(relayed, rate)
					} else {
						kernel = append(kernel, rate)
					}
				}
				work = append(work, perByte[0]/perByte[1])
				ratios = append(ratios, relayed[len(relayed)-1]/kernel[len(kernel)-1])
			}
			b.ReportMetric(median(kernel)/1e6, "kernel-Mbit/s")
			b.ReportMetric(median(relayed)/1e6, "relayed-Mbit/s")
			b.ReportMetric(median(ratios), "ratio")
			b.ReportMetric(median(work), "ratio-by-processor-time") // what others do on the machine shows less in it
			for _, f := range r.relays {
				b.Logf("%+v", f.Counters())
			}
			for _, t := range r.flows {
				t.source.close()
				t.sink.close()
			}
			ends.Wait()
		})
	}
}

// processorTime is what this process has used so far, with what the kernel did for it.
func processorTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // fails only for another first argument
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
