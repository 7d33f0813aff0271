package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/weavewg/weavewg/integration/lab"
)

// demoWatch listens on the cable between the hosts, as anybody there could, and sorts what it sees.
type demoWatch struct {
	cancel context.CancelFunc
	done   chan struct{}
	tap    *lab.Tap
	ports  map[int]bool

	mu      sync.Mutex
	err     error // why it does not listen any more
	kinds   map[lab.Kind]int
	bytes   map[lab.Kind]int
	streams map[[2]netip.AddrPort]*lab.TLSStream
	strange map[string]int // what should not be there, and how often
	canary  int
}

// The kinds beside those of lab.Packet.
const (
	kindARP Kind = "ARP of the hosts"
	kindND  Kind = "IPv6 neighbour discovery of the hosts"
	kindTLS Kind = "TLS (control)"
)

// Kind is short for what lab calls a packet.
type Kind = lab.Kind

// Watch begins to listen.
func (s *demoStage) Watch(ctx context.Context) (*demoWatch, error) {
	tap, err := lab.OpenTap(s.Underlay(), "", lab.WithSegments())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &demoWatch{
		cancel: cancel, done: make(chan struct{}), tap: tap, ports: make(map[int]bool),
		kinds: make(map[lab.Kind]int), bytes: make(map[lab.Kind]int),
		streams: make(map[[2]netip.AddrPort]*lab.TLSStream), strange: make(map[string]int),
	}
	for _, h := range s.hosts {
		w.ports[h.link.PortIndex()] = true
	}
	go func() {
		defer close(w.done)
		err := tap.ReceiveUntil(ctx, func(f lab.Frame) bool { w.take(f); return false })
		w.mu.Lock()
		defer w.mu.Unlock()
		w.err = err
	}()
	return w, nil
}

// Stop ends listening. It may be called twice.
func (w *demoWatch) Stop() {
	w.cancel()
	<-w.done
	_ = w.tap.Close() // it was only read from
}

func (w *demoWatch) take(f lab.Frame) {
	if !w.ports[f.Index] {
		return // the switch's own view of a broadcast that a port has shown already
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if bytes.Contains(f.Data, []byte(demoCanary)) {
		w.canary++
	}
	packets := 0
	for p := range f.Packets() {
		packets++
		w.packet(p)
	}
	if packets > 0 {
		return
	}
	kind := housekeeping(f.Data)
	w.kinds[kind]++
	w.bytes[kind] += len(f.Data)
}

func (w *demoWatch) packet(p lab.Packet) {
	kind := p.Kind()
	if p.Protocol == 6 {
		key := [2]netip.AddrPort{p.Src, p.Dst}
		s := w.streams[key]
		if s == nil || p.SYN {
			s = &lab.TLSStream{}
			w.streams[key] = s
		}
		if err := s.Take(p); err != nil {
			w.strange[err.Error()]++
		}
		if len(p.Payload) > 0 {
			kind = kindTLS
		}
	}
	w.kinds[kind]++
	w.bytes[kind] += len(p.Payload)
}

// housekeeping names frames without TCP or UDP: the hosts' own search for each other, or something unexpected.
func housekeeping(frame []byte) lab.Kind {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	if p.Layer(layers.LayerTypeARP) != nil {
		return kindARP
	}
	if icmp, ok := p.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6); ok {
		switch icmp.TypeCode.Type() {
		case layers.ICMPv6TypeRouterSolicitation, layers.ICMPv6TypeNeighborSolicitation,
			layers.ICMPv6TypeNeighborAdvertisement, layers.ICMPv6TypeMLDv2MulticastListenerReportMessageV2:
			return kindND
		}
	}
	return lab.Kind("unexpected: " + p.String())
}

// expected are the kinds that an encrypted switch may show to the underlay, in the order in which they are printed.
var expected = []lab.Kind{
	lab.WireGuardInitiation, lab.WireGuardResponse, lab.WireGuardCookie, lab.WireGuardData, kindTLS, lab.TCPControl,
	kindARP, kindND,
}

// underlay says what an eavesdropper got.
func (d *demo) underlay(ctx context.Context) error {
	if err := d.watch.stillListening(); err != nil {
		return err
	}
	d.watch.Stop()
	w := d.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	d.say("\nAll of that seen from the underlay, where somebody listens:")
	for _, k := range expected {
		if w.kinds[k] > 0 {
			d.say("  %-38s %7d packets %9.1f kB", k, w.kinds[k], float64(w.bytes[k])/1e3)
		}
	}
	var wrong []error
	for _, k := range slices.Sorted(maps.Keys(w.kinds)) {
		if !slices.Contains(expected, k) {
			wrong = append(wrong, fmt.Errorf("%d packets on the underlay are %s", w.kinds[k], k))
		}
	}
	for what, n := range w.strange {
		wrong = append(wrong, fmt.Errorf("on the underlay, %d times: %s", n, what))
	}
	for _, k := range []lab.Kind{lab.WireGuardData, kindTLS} {
		if w.kinds[k] == 0 {
			wrong = append(wrong, fmt.Errorf("no %s was seen on the underlay: where did the traffic go?", k))
		}
	}
	if d.inside == 0 {
		wrong = append(wrong, errors.New("the containers' text was not even seen in the container that it was sent to"))
	}
	if w.canary > 0 {
		wrong = append(wrong, fmt.Errorf("%d packets on the underlay hold the containers' text in plain", w.canary))
	}
	if len(wrong) > 0 {
		return errors.Join(append(wrong, ctx.Err())...)
	}
	d.say("  Nothing else. The text that the containers sent each other was seen %d times in gamma's container, here never.", d.inside)
	return nil
}

// stillListening says why the watch has ended before its time, if it has.
func (w *demoWatch) stillListening() error {
	select {
	case <-w.done:
		return fmt.Errorf("capture of the underlay: %w", w.err)
	default:
		return nil
	}
}
