package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weavewg/weavewg/integration/lab"
)

// demoCanary is in everything that the containers send: whoever sees it on the underlay has seen plain text.
const demoCanary = "weavewg-demo-canary-in-plain-text"

// bringUp starts the three daemons at once and waits until every one has a link to every other.
func (d *demo) bringUp(ctx context.Context) error {
	d.say("\nweavewg up on each. beta and gamma are told of alpha only; the rest they find out.")
	start := time.Now()
	var all errgroup.Group
	for _, h := range d.stage.hosts {
		all.Go(func() error { return h.Up(ctx) })
	}
	if err := all.Wait(); err != nil {
		return err
	}
	d.did("up", "three switches ready after %.1f s", time.Since(start).Seconds())
	for _, h := range d.stage.hosts {
		for _, peer := range d.stage.hosts {
			if h != peer {
				all.Go(func() error { return h.WaitFor(ctx, "peer="+peer.Name()) })
			}
		}
	}
	if err := all.Wait(); err != nil {
		return err
	}
	d.did("linked", "every host to every other after %.1f s", time.Since(start).Seconds())
	return nil
}

// plugIn attaches the containers.
func (d *demo) plugIn(ctx context.Context) error {
	d.say("\nweavewg attach: a namespace, as a container has one, is plugged in on each host.")
	for _, h := range d.stage.hosts {
		if _, err := h.Must(ctx, "attach", h.container.Path(), h.v4.String(), h.v6.String()); err != nil {
			return err
		}
		d.did(h.Name(), "ethwe with %s and %s", h.v4, h.v6)
	}
	return nil
}

// traffic shows that the three containers are on one Ethernet switch.
func (d *demo) traffic(ctx context.Context) error {
	d.say("\nOne Ethernet switch: the containers see each other as neighbours on one cable.")
	for _, act := range []func(context.Context) error{d.arp, d.ping, d.tcp, d.broadcast, d.multicast} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) arp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	a, b := d.stage.hosts[0], d.stage.hosts[1]
	var has net.HardwareAddr
	err := b.container.Do(func() error {
		dev, err := net.InterfaceByName("ethwe")
		if err == nil {
			has = dev.HardwareAddr
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", b.name(), err)
	}
	mac, err := lab.ARP(ctx, a.container, "ethwe", a.v4.Addr(), b.v4.Addr())
	if err != nil {
		return err
	}
	if mac.String() != has.String() {
		return fmt.Errorf("arp %s: %s answers, %s has %s", b.v4.Addr(), mac, b.name(), has)
	}
	d.did("ARP", "%s asks who has %s: %s, which is %s", a.name(), b.v4.Addr(), mac, b.name())
	return nil
}

func (d *demo) ping(ctx context.Context) error {
	for _, family := range []string{"IPv4", "IPv6"} {
		for i, a := range d.stage.hosts {
			b := d.stage.hosts[(i+1)%len(d.stage.hosts)]
			to := b.v4.Addr()
			if family == "IPv6" {
				to = b.v6.Addr()
			}
			if err := firstAnswer(ctx, a.container, to); err != nil {
				return err
			}
			r, err := lab.Ping(ctx, a.container, lab.PingSpec{To: to, Count: 20, Every: 10 * time.Millisecond})
			if err != nil {
				return err
			}
			if r.Lost() > 0 {
				return fmt.Errorf("ping %s from %s: %s", to, a.name(), r)
			}
			d.did(family+" ping", "%s to %s: %d of %d answered, median %.2f ms", a.name(), to,
				r.Sent()-r.Lost(), r.Sent(), float64(r.MedianRTT())/1e6)
		}
	}
	return nil
}

// firstAnswer waits until a new address is usable: IPv6 first looks for another owner (duplicate address detection).
func firstAnswer(ctx context.Context, from lab.Place, to netip.Addr) error {
	r, err := lab.Ping(ctx, from, lab.PingSpec{To: to, Count: 200, Every: 50 * time.Millisecond, Stop: 1})
	if err == nil && r.Lost() == r.Sent() {
		return fmt.Errorf("ping %s: none of %d answered", to, r.Sent())
	}
	return err
}

func (d *demo) tcp(ctx context.Context) error {
	const size = 64 << 20
	a, b := d.stage.hosts[1], d.stage.hosts[2]
	sink, err := lab.OpenSink(ctx, b.container, netip.AddrPortFrom(b.v4.Addr(), 0))
	if err != nil {
		return err
	}
	defer sink.Close()
	stop, err := d.countInside(ctx, b)
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	t, err := lab.Send(ctx, a.container, sink.Addr(), size, []byte(demoCanary))
	if err != nil {
		return err
	}
	d.did("TCP", "%s to %s: %d MiB at %.0f Mbit/s, same SHA-256 at both ends", a.name(), b.name(), size>>20, t.Mbits())
	return nil
}

// countInside counts the canary where it may be seen, in the container that receives it: a search on the underlay
// that finds nothing means something only if it would find it.
func (d *demo) countInside(ctx context.Context, h *demoHost) (stop func(), err error) {
	tap, err := lab.OpenTap(h.container, "ethwe")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// It ends by cancel; if by anything else, the count stays low, which is noticed.
		_ = tap.ReceiveUntil(ctx, func(f lab.Frame) bool {
			d.inside += bytes.Count(f.Data, []byte(demoCanary))
			return false
		})
	}()
	return func() { cancel(); <-done; _ = tap.Close() }, nil
}

func (d *demo) broadcast(ctx context.Context) error {
	return d.heardByOthers(ctx, "broadcast", netip.MustParseAddrPort("10.32.0.255:7777"))
}

func (d *demo) multicast(ctx context.Context) error {
	return d.heardByOthers(ctx, "multicast", netip.MustParseAddrPort("239.32.0.1:7778"), netip.MustParseAddr("239.32.0.1"))
}

// heardByOthers sends one datagram from the first container, which all the others have to hear.
func (d *demo) heardByOthers(ctx context.Context, what string, to netip.AddrPort, groups ...netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	from, others := d.stage.hosts[0], d.stage.hosts[1:]
	content := []byte(what + " " + demoCanary)
	var heard errgroup.Group
	var names []string
	for _, h := range others {
		names = append(names, h.name())
		ear, err := lab.OpenEar(ctx, h.container, "ethwe", to.Port(), groups...)
		if err != nil {
			return err
		}
		heard.Go(func() error {
			defer ear.Close()
			if _, err := ear.Hear(ctx, content); err != nil {
				return fmt.Errorf("%s heard no %s to %s: %w", h.name(), what, to, err)
			}
			return nil
		})
	}
	if err := lab.Shout(ctx, from.container, "ethwe", to, content); err != nil {
		cancel()
		_ = heard.Wait()
		return err
	}
	if err := heard.Wait(); err != nil {
		return err
	}
	d.did(what, "%s to %s: heard by %s", from.name(), to.Addr(), strings.Join(names, " and "))
	return nil
}

// tables prints what the commands print.
func (d *demo) tables(ctx context.Context) error {
	for _, verb := range []string{"status", "peers", "macs"} {
		out, err := d.stage.hosts[0].Must(ctx, verb)
		if err != nil {
			return err
		}
		d.say("\nweavewg %s, on alpha:", verb)
		for line := range strings.Lines(out) {
			fmt.Fprintln(d.out, strings.TrimRight("  "+line, " \n"))
		}
	}
	return nil
}
