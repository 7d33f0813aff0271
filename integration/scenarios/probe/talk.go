package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// want checks the number of arguments.
func want(args []string, least int, names string) error {
	if len(args) < least {
		return fmt.Errorf("want %s", names)
	}
	return nil
}

func ping(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 1, "ADDR"); err != nil {
		return nil, err
	}
	to, err := netip.ParseAddr(args[0])
	if err != nil {
		return nil, err
	}
	spec := lab.PingSpec{To: to}
	fs := flag.NewFlagSet("ping", flag.ContinueOnError)
	fs.IntVar(&spec.Count, "count", 0, "requests; 0: until a signal")
	fs.IntVar(&spec.Stop, "stop", 0, "answers after which to stop; 0: never")
	fs.IntVar(&spec.Size, "size", 0, "bytes of payload")
	fs.DurationVar(&spec.Every, "every", 100*time.Millisecond, "pace")
	fs.DurationVar(&spec.Timeout, "timeout", time.Second, "wait for the last answer")
	if err := fs.Parse(args[1:]); err != nil {
		return nil, err
	}
	return lab.Ping(ctx, at, spec)
}

func arp(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 3, "IFACE FROM TARGET"); err != nil {
		return nil, err
	}
	from, err1 := netip.ParseAddr(args[1])
	target, err2 := netip.ParseAddr(args[2])
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	mac, err := lab.ARP(ctx, at, args[0], from, target)
	return mac.String(), err
}

func announce(_ context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 3, "IFACE MAC ADDR"); err != nil {
		return nil, err
	}
	mac, err := net.ParseMAC(args[1])
	if err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddr(args[2])
	if err != nil {
		return nil, err
	}
	sent := time.Now()
	return sent, lab.Announce(at, args[0], mac, addr)
}

func sink(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 1, "ADDR:PORT"); err != nil {
		return nil, err
	}
	addr, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return nil, err
	}
	s, err := lab.OpenSink(ctx, at, addr)
	if err != nil {
		return nil, err
	}
	fmt.Printf("%q\n", s.Addr())
	<-ctx.Done()
	return nil, s.Close()
}

func send(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 2, "ADDR:PORT BYTES"); err != nil {
		return nil, err
	}
	to, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return nil, err
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil {
		return nil, err
	}
	var marker []byte
	if len(args) > 2 {
		marker = []byte(args[2])
	}
	return lab.Send(ctx, at, to, size, marker)
}

func hear(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 3, "IFACE PORT CONTENT"); err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return nil, err
	}
	var groups []netip.Addr
	for _, g := range args[3:] {
		addr, err := netip.ParseAddr(g)
		if err != nil {
			return nil, err
		}
		groups = append(groups, addr)
	}
	ear, err := lab.OpenEar(ctx, at, args[0], uint16(port), groups...)
	if err != nil {
		return nil, err
	}
	defer ear.Close()
	fmt.Println(`"listening"`)
	return ear.Hear(ctx, []byte(args[2]))
}

func shout(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 3, "IFACE ADDR:PORT CONTENT"); err != nil {
		return nil, err
	}
	to, err := netip.ParseAddrPort(args[1])
	if err != nil {
		return nil, err
	}
	return true, lab.Shout(ctx, at, args[0], to, []byte(args[2]))
}
