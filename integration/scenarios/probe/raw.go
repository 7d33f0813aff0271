package main

import (
	"bytes"
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

func frames(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 2, "send|receive IFACE"); err != nil {
		return nil, err
	}
	var spec lab.FrameSpec
	fs := flag.NewFlagSet("frames", flag.ContinueOnError)
	from := fs.String("from", args[1], "sender: MAC address or interface")
	to := fs.String("to", args[1], "receiver: MAC address or interface")
	fs.Uint64Var(&spec.Seed, "seed", 1, "which stream")
	fs.Uint64Var(&spec.Count, "count", 1000, "frames")
	fs.IntVar(&spec.MTU, "mtu", 1280, "largest payload of a frame")
	fs.IntVar(&spec.PerSecond, "rate", 5000, "frames a second")
	if err := fs.Parse(args[2:]); err != nil {
		return nil, err
	}
	var err1, err2 error
	spec.From, err1 = macOf(at, *from)
	spec.To, err2 = macOf(at, *to)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	tap, err := lab.OpenTap(at, args[1])
	if err != nil {
		return nil, err
	}
	defer tap.Close()
	if args[0] == "send" {
		return spec.Count, lab.SendFrames(ctx, tap, spec)
	}
	fmt.Println(`"listening"`)
	return lab.ReceiveFrames(ctx, tap, spec, time.Second)
}

// inject sends VXLAN datagrams with a broadcast frame in each, as somebody without any key can.
func inject(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 4, "ADDR:PORT COUNT VNI MARKER"); err != nil {
		return nil, err
	}
	to, err1 := netip.ParseAddrPort(args[0])
	n, err2 := strconv.Atoi(args[1])
	vni, err3 := strconv.ParseUint(args[2], 10, 24)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	datagram := []byte{0x08, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0} // RFC 7348, section 5
	datagram = append(datagram, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x66, 0x88, 0xb5)
	datagram = append(append(datagram, args[3]...), make([]byte, 46)...)
	var conn net.Conn
	err := at.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "udp", to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	refused := 0
	for i := 0; i < n && ctx.Err() == nil; i++ {
		if _, err := conn.Write(datagram); err != nil {
			refused++ // the answer to an earlier one: port unreachable
		}
	}
	return map[string]int{"sent": n, "refused": refused}, ctx.Err()
}

func count(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 2, "IFACE MARKER"); err != nil {
		return nil, err
	}
	tap, err := lab.OpenTap(at, args[0], lab.Promiscuous())
	if err != nil {
		return nil, err
	}
	defer tap.Close()
	fmt.Println(`"listening"`)
	n := 0
	err = tap.ReceiveUntil(ctx, func(f lab.Frame) bool {
		if bytes.Contains(f.Data, []byte(args[1])) {
			n++
		}
		return false
	})
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return n, err
}
