package rtnl

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
)

// LocalMACs returns the addresses that a network's bridge has learnt on local ports: neither on the overlay port, nor
// those of the host ends themselves.
func (e *Edge) LocalMACs(vni uint32) ([]net.HardwareAddr, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	br, err := e.links.LinkByName(l2bridge.BridgeName(vni))
	if err != nil {
		return nil, fmt.Errorf("bridge %s: %w", l2bridge.BridgeName(vni), err)
	}
	port, err := e.links.LinkByName(l2bridge.OverlayPortName(vni))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l2bridge.OverlayPortName(vni), err)
	}
	entries, err := e.links.NeighList(0, unix.AF_BRIDGE)
	if err != nil {
		return nil, fmt.Errorf("list the table of %s: %w", br.Attrs().Name, err)
	}
	var macs []net.HardwareAddr
	for _, n := range entries {
		learnt := n.State&netlink.NUD_PERMANENT == 0
		if n.MasterIndex == br.Attrs().Index && n.LinkIndex != port.Attrs().Index && learnt {
			macs = append(macs, n.HardwareAddr)
		}
	}
	return macs, nil
}
