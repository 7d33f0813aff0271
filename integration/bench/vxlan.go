package bench

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"

	"github.com/weavewg/weavewg/integration/lab"
)

// VXLAN is the switch that people make by hand: the kernel's VXLAN, without learning, over a bare tunnel.
type VXLAN struct{ WireGuard }

// vxlanBytes is what VXLAN adds over IPv4: outer IP 20, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348, section 5).
const vxlanBytes = 20 + 8 + 8 + 14

const vxlanName = "vx"

// VXLANA and VXLANB are the addresses on the switch.
var (
	VXLANA = netip.MustParseAddr("10.97.0.1")
	VXLANB = netip.MustParseAddr("10.97.0.2")
)

// Name implements Contender.
func (v *VXLAN) Name() string { return "VXLAN over " + v.WireGuard.Name() }

// Kind implements Contender.
func (v *VXLAN) Kind() Kind { return HandMade }

// Start implements Contender.
func (v *VXLAN) Start(ctx context.Context, p *Pair) (Route, error) {
	if _, err := v.WireGuard.Start(ctx, p); err != nil {
		return Route{}, err
	}
	for _, end := range []struct {
		host         *lab.Host
		local, other netip.Addr
		addr         netip.Addr
	}{{p.A, TunnelA, TunnelB, VXLANA}, {p.B, TunnelB, TunnelA, VXLANB}} {
		err := end.host.Netlink().LinkAdd(&netlink.Vxlan{
			LinkAttrs: netlink.LinkAttrs{Name: vxlanName, MTU: WireGuardMTU - vxlanBytes},
			VxlanId:   42, Port: 4789, Learning: false,
			SrcAddr: end.local.AsSlice(), Group: end.other.AsSlice(),
		})
		if err != nil {
			return Route{}, fmt.Errorf("%s: vxlan: %w", end.host.Name(), err)
		}
		if err := addAddress(end.host.Space, vxlanName, netip.PrefixFrom(end.addr, 24)); err != nil {
			return Route{}, err
		}
	}
	route := Route{From: p.A, To: p.B, Addr: VXLANB}
	return route, route.answers(ctx)
}
