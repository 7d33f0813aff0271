package wgdev

import (
	"errors"
	"fmt"
	"os"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// settings of the overlay namespace (Documentation/networking/ip-sysctl.rst of the kernel). Nothing is forwarded there,
// nobody's router advertisement counts, and a frame's source need not be routable where it came in.
var settings = []struct {
	path, value string
	optional    bool // the kernel may lack it; the guard and the layout do not depend on it
}{
	{path: "net/ipv6/conf/all/disable_ipv6", value: "0"},
	{path: "net/ipv6/conf/default/disable_ipv6", value: "0"},
	{path: "net/ipv6/conf/lo/disable_ipv6", value: "0"},
	{path: "net/ipv6/conf/all/forwarding", value: "0"},
	{path: "net/ipv6/conf/all/accept_ra", value: "0"},
	{path: "net/ipv6/conf/default/accept_ra", value: "0"},
	{path: "net/ipv6/conf/default/accept_redirects", value: "0"},
	{path: "net/ipv6/conf/default/addr_gen_mode", value: "1", optional: true}, // no link-local addresses
	{path: "net/ipv4/conf/all/forwarding", value: "0"},
	{path: "net/ipv4/conf/all/rp_filter", value: "0"},
	{path: "net/ipv4/conf/default/rp_filter", value: "0"},
	{path: "net/ipv4/conf/all/arp_ignore", value: "8", optional: true}, // the overlay's own stack answers no ARP
	// With br_netfilter the guard's forward chain would meet every bridged packet, and drop it.
	{path: "net/bridge/bridge-nf-call-iptables", value: "0", optional: true},
	{path: "net/bridge/bridge-nf-call-ip6tables", value: "0", optional: true},
	{path: "net/bridge/bridge-nf-call-arptables", value: "0", optional: true},
}

// settle writes them. Files under /proc/sys/net belong to the namespace of the thread that opens them.
func (d *Device) settle() error {
	return netns.Do(d.overlay, func() error {
		if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
			return fmt.Errorf("this kernel has IPv6 switched off (ipv6.disable=1?), and overlay addresses are IPv6: %w", err)
		}
		for _, s := range settings {
			path := "/proc/sys/" + s.path
			err := set(path, s.value)
			if s.optional && errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("overlay namespace: %w", err)
			}
		}
		return nil
	})
}

// set writes a value unless it is there already: some mounts of /proc/sys can be read only.
func set(path, value string) error {
	is, err := os.ReadFile(path)
	if err == nil && string(is) == value+"\n" {
		return nil
	}
	return os.WriteFile(path, []byte(value), 0)
}
