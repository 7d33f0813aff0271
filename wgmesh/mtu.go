package wgmesh

// What one packet costs on its way, in bytes:
//
//	underlay MTU 1500
//	┌──────────────┬───────┬──────────────┬─────────────────────────────────────────────┬─────────┐
//	│ IPv4 20      │ UDP 8 │ WireGuard 16 │ payload: a VXLAN packet between overlay     │ tag 16  │
//	│ or IPv6 40   │       │ header       │ addresses                                   │         │
//	└──────────────┴───────┴──────────────┴─────────────────────────────────────────────┴─────────┘
//	                                       ┌─────────┬───────┬─────────┬─────────────┬──┐
//	                                       │ IPv6 40 │ UDP 8 │ VXLAN 8 │ Ethernet 14 │IP│ ← the network's MTU
//	                                       └─────────┴───────┴─────────┴─────────────┴──┘
const (
	wireGuardOverIPv4 = 20 + 8 + 16 + 16 // 60
	wireGuardOverIPv6 = 40 + 8 + 16 + 16 // 80
	vxlanOverIPv6     = 40 + 8 + 8 + 14  // 70

	// minDeviceMTU keeps a network of MTU 1280 possible, and the device well above 1280, below which Linux takes its IPv6
	// addresses away for good (net/ipv6/addrconf.c). Smaller underlays fragment the outer packet.
	minDeviceMTU  = 1280 + vxlanOverIPv6
	minNetworkMTU = 1280 // RFC 8200, section 5
)

// PayloadMTU is how many bytes one WireGuard payload may have on an underlay with this MTU.
func PayloadMTU(underlay int, ipv6 bool) uint16 {
	if ipv6 {
		return uint16(max(underlay-wireGuardOverIPv6, 0))
	}
	return uint16(max(underlay-wireGuardOverIPv4, 0))
}

func deviceMTU(payload uint16) int { return max(int(payload), minDeviceMTU) }

// networkMTU is the MTU of a network: what the YAML says, or what the narrowest member allows.
func (c *Core) networkMTU(n NetworkSettings) int {
	if n.MTU != 0 {
		return n.MTU
	}
	lowest := int(c.mtu)
	for _, id := range c.graph.IDs() {
		if rec := c.graph.Get(id); rec != nil && !rec.Left && rec.MTU != 0 && id != c.self && c.isMember(id, n.VNI) {
			lowest = min(lowest, int(rec.MTU))
		}
	}
	return max(lowest-vxlanOverIPv6, minNetworkMTU)
}
