package doctor

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Examine tries the host out. It needs root; everything is made in a namespace that ends with it, so it changes nothing
// and may run beside a daemon.
func Examine() Findings {
	f := Findings{Schema: Schema, Findings: []Finding{kernel()}}
	for _, p := range hostProbes() {
		f.Findings = append(f.Findings, p.run())
	}
	done := make(chan []Finding)
	go func() { done <- inScratch() }()
	f.Findings = append(f.Findings, <-done...)
	return f
}

// inScratch runs the probes that make things. Its thread is in a network namespace of its own and ends with the
// goroutine, as it is locked and never unlocked; the namespace and all that is in it end with the thread.
func inScratch() []Finding {
	runtime.LockOSThread()
	namespace := probe{
		what: "network namespaces", lacking: Fatal, have: "the overlay is apart from the host",
		lack: "weavewg cannot run: the overlay needs a namespace", remedy: "run as root with CAP_SYS_ADMIN; kernel with CONFIG_NET_NS",
		try: func() (string, error) { return "available", unix.Unshare(unix.CLONE_NEWNET) },
	}.run()
	if namespace.State != OK {
		return []Finding{namespace}
	}
	findings := []Finding{namespace}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return append(findings, Finding{What: "netlink", State: Fatal, Found: err.Error(), Follows: "weavewg cannot make interfaces"})
	}
	defer h.Close()
	kernelWireGuard := false
	for _, p := range scratchProbes(h) {
		one := p.run()
		switch one.What {
		case whatWireGuard:
			kernelWireGuard = one.State == OK
		case whatTUN:
			if one.State != OK && !kernelWireGuard {
				one.State, one.Follows = Fatal, "no WireGuard at all: neither the kernel's nor one in user space"
			}
		}
		findings = append(findings, one)
	}
	return findings
}

func kernel() Finding {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Finding{What: "kernel", State: Warn, Found: err.Error()}
	}
	return Finding{What: "kernel", State: OK, Found: unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])}
}

// wantedBuffer is what a socket may buffer at least for a burst of 64 kB datagrams not to be cut, in bytes.
const wantedBuffer = 4 << 20

// hostProbes look at the host's own namespace.
func hostProbes() []probe {
	buffer := func(name string) probe {
		return probe{
			what: "net.core." + name, lacking: Warn, have: "bursts fit", lack: "bursts may be cut where the daemon cannot raise its buffers itself",
			remedy: fmt.Sprintf("sysctl -w net.core.%s=%d", name, wantedBuffer),
			try: func() (string, error) {
				n, err := sysctl("net/core/" + name)
				if err != nil {
					return "", err
				}
				if n < wantedBuffer {
					return "", fmt.Errorf("%d bytes, better %d", n, wantedBuffer)
				}
				return fmt.Sprintf("%d bytes", n), nil
			},
		}
	}
	return []probe{
		{
			what: "IPv6", lacking: Fatal, have: "overlay addresses are IPv6", lack: "weavewg cannot run: its overlay addresses are IPv6, whatever the underlay is",
			remedy: "remove ipv6.disable=1 from the kernel's command line",
			try: func() (string, error) {
				if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
					return "", fmt.Errorf("switched off at boot")
				}
				return "available", nil
			},
		},
		{
			what: "underlay MTU", lacking: Warn, have: "an overlay packet fits one underlay packet", lack: "the overlay's MTU may fall below what IPv6 needs (1280), then outer packets are fragmented",
			remedy: "raise the MTU of the interface to 1500 if the network carries it", try: underlayMTU,
		},
		buffer("rmem_max"),
		buffer("wmem_max"),
	}
}

func sysctl(path string) (int, error) {
	b, err := os.ReadFile("/proc/sys/" + path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// minUnderlay carries an inner packet of 1280 bytes in VXLAN (70) in WireGuard over IPv6 (80).
const minUnderlay = 1280 + 70 + 80

// underlayMTU looks at the interface of the default route.
func underlayMTU() (string, error) {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteList(nil, family)
		if err != nil {
			return "", err
		}
		for _, r := range routes {
			if r.Dst != nil && r.Dst.IP != nil && !r.Dst.IP.IsUnspecified() || r.LinkIndex == 0 {
				continue
			}
			link, err := netlink.LinkByIndex(r.LinkIndex)
			if err != nil {
				return "", err
			}
			text := fmt.Sprintf("%d on %s", link.Attrs().MTU, link.Attrs().Name)
			if link.Attrs().MTU < minUnderlay {
				return "", fmt.Errorf("%s, needed %d", text, minUnderlay)
			}
			return text, nil
		}
	}
	return "no default route: not known", nil
}
