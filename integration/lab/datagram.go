package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Ear hears UDP datagrams on one port, those to broadcast addresses and to the groups it joined included.
type Ear struct{ conn net.PacketConn }

// OpenEar listens on a port in a namespace and joins multicast groups on an interface. Groups of both families need
// an Ear each.
func OpenEar(ctx context.Context, at Place, iface string, port uint16, groups ...netip.Addr) (*Ear, error) {
	network := "udp4"
	if len(groups) > 0 && groups[0].Is6() {
		network = "udp6"
	}
	e := &Ear{}
	err := at.Do(func() error {
		dev, err := net.InterfaceByName(iface)
		if err != nil {
			return err
		}
		lc := net.ListenConfig{Control: reuseAddress}
		if e.conn, err = lc.ListenPacket(ctx, network, fmt.Sprintf(":%d", port)); err != nil {
			return err
		}
		for _, g := range groups {
			group := &net.UDPAddr{IP: g.AsSlice()}
			if network == "udp6" {
				err = ipv6.NewPacketConn(e.conn).JoinGroup(dev, group)
			} else {
				err = ipv4.NewPacketConn(e.conn).JoinGroup(dev, group)
			}
			if err != nil {
				return errors.Join(fmt.Errorf("join %s: %w", g, err), e.conn.Close())
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", iface, err)
	}
	return e, nil
}

// Hear waits for a datagram with this content and returns who sent it.
func (e *Ear) Hear(ctx context.Context, content []byte) (netip.AddrPort, error) {
	buf := make([]byte, 65536)
	for {
		if err := ctx.Err(); err != nil {
			return netip.AddrPort{}, err
		}
		if err := e.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			return netip.AddrPort{}, err
		}
		n, from, err := e.conn.ReadFrom(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return netip.AddrPort{}, err
		case bytes.Equal(buf[:n], content):
			return from.(*net.UDPAddr).AddrPort(), nil
		}
	}
}

// Send sends one datagram from the port that the ear listens on.
func (e *Ear) Send(to netip.AddrPort, content []byte) error {
	_, err := e.conn.WriteTo(content, net.UDPAddrFromAddrPort(to))
	return err
}

// Close closes the ear.
func (e *Ear) Close() error { return e.conn.Close() }

// Shout sends one datagram out of an interface: to one, to a group or to everybody (the subnet's broadcast address or
// 255.255.255.255).
func Shout(ctx context.Context, at Place, iface string, to netip.AddrPort, content []byte) error {
	return at.Do(func() error {
		lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
			return control(c, func(fd int) error {
				return errors.Join(
					unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1),
					unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, iface))
			})
		}}
		network := "udp4"
		if to.Addr().Is6() {
			network = "udp6"
		}
		conn, err := lc.ListenPacket(ctx, network, ":0")
		if err != nil {
			return fmt.Errorf("send to %s: %w", to, err)
		}
		defer conn.Close()
		_, err = conn.WriteTo(content, net.UDPAddrFromAddrPort(to))
		return err
	})
}

func reuseAddress(_, _ string, c syscall.RawConn) error {
	return control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
}

func control(c syscall.RawConn, f func(fd int) error) error {
	var failed error
	if err := c.Control(func(fd uintptr) { failed = f(int(fd)) }); err != nil {
		return err
	}
	return failed
}
