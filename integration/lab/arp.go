package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// ARP asks for the hardware address of an IPv4 address, once a 100 ms until somebody answers or the context ends.
// It asks itself, past the kernel's neighbour cache.
func ARP(ctx context.Context, at Place, iface string, from, target netip.Addr) (net.HardwareAddr, error) {
	tap, err := OpenTap(at, iface)
	if err != nil {
		return nil, err
	}
	defer tap.Close()
	own, err := hardwareAddr(at, iface)
	if err != nil {
		return nil, err
	}
	request := arpFrame(broadcastMAC, own, 1, from, net.HardwareAddr{0, 0, 0, 0, 0, 0}, target)
	for {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("arp %s: no answer: %w", target, err)
		}
		if err := tap.Send(request); err != nil {
			return nil, fmt.Errorf("arp %s: %w", target, err)
		}
		round, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		var answer net.HardwareAddr
		err := tap.ReceiveUntil(round, func(f Frame) bool {
			answer = arpAnswer(f.Data, target)
			return answer != nil
		})
		cancel()
		if err == nil {
			return answer, nil
		}
		if round.Err() == nil {
			return nil, fmt.Errorf("arp %s: %w", target, err)
		}
	}
}

// Announce sends a gratuitous ARP: everybody on the segment hears that an address is at a hardware address, as after
// the move of a virtual machine.
func Announce(at Place, iface string, mac net.HardwareAddr, addr netip.Addr) error {
	tap, err := OpenTap(at, iface)
	if err != nil {
		return err
	}
	defer tap.Close()
	return tap.Send(arpFrame(broadcastMAC, mac, 1, addr, net.HardwareAddr{0, 0, 0, 0, 0, 0}, addr))
}

var broadcastMAC = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// arpFrame is an ARP packet for IPv4 over Ethernet (RFC 826), padded to the 60 bytes that Ethernet wants.
func arpFrame(to, sender net.HardwareAddr, op uint16, senderIP netip.Addr, target net.HardwareAddr, targetIP netip.Addr) []byte {
	b := make([]byte, 0, 60)
	b = append(append(b, to...), sender...)
	b = append(b, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4)
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(append(b, sender...), senderIP.AsSlice()...)
	b = append(append(b, target...), targetIP.AsSlice()...)
	return b[:60]
}

// arpAnswer returns who a reply says the address is at, nil if the frame is no reply about it.
func arpAnswer(frame []byte, target netip.Addr) net.HardwareAddr {
	if len(frame) < 42 || !bytes.Equal(frame[12:22], []byte{0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 2}) {
		return nil
	}
	if !bytes.Equal(frame[28:32], target.AsSlice()) {
		return nil
	}
	return bytes.Clone(frame[22:28])
}

func hardwareAddr(at Place, iface string) (mac net.HardwareAddr, err error) {
	err = at.Do(func() error {
		dev, err := net.InterfaceByName(iface)
		if err != nil {
			return fmt.Errorf("%s: %w", iface, err)
		}
		mac = dev.HardwareAddr
		return nil
	})
	return mac, err
}
