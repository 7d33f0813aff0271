package rtnl

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
)

// GSOMaxSize bounds the segmentation frames of what is plugged in, in bytes: cut into datagrams, one with its headers
// still fits one UDP_SEGMENT call of 65,507 bytes at the smallest MTU.
const GSOMaxSize = 60000

// Interface names inside targets; a digit is added where they are taken.
const (
	targetInterface = "ethwe"
	hostInterface   = "weavewg"
)

// PortSpec is an attachment as it should be.
type PortSpec struct {
	ID        string   // chosen by the caller, stable over restarts
	VNI       uint32   // of a network that exists
	Target    *os.File // network namespace, see OpenTarget; nil: the host's own
	Interface string   // its name in the target; empty: ethwe, ethwe1, … (weavewg, weavewg1, … in the host)
	MAC       net.HardwareAddr
	Addresses []netip.Prefix // with the mask that they shall have; more can be there
	MTU       int
}

// Port is what Plug made or found.
type Port struct {
	Interface string
	MAC       net.HardwareAddr
	Addresses []netip.Prefix // all that the interface has, link-local ones aside
}

// Plug makes an attachment, or puts right what differs in one that exists: a veth pair of which one end is in the
// network's bridge and the other, with its addresses, in the target. Then it announces the addresses. A failure takes
// back what was half done; an attachment that existed before stays. Errors do not name the attachment: its id says nothing
// to people.
func (e *Edge) Plug(s PortSpec) (Port, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.plug(s)
}

func (e *Edge) plug(s PortSpec) (_ Port, err error) {
	if len(s.MAC) != 6 || s.MAC[0]&1 != 0 {
		return Port{}, fmt.Errorf("%q is no address of an interface", s.MAC)
	}
	if len(s.Interface) >= unix.IFNAMSIZ || strings.ContainsAny(s.Interface, "/ :") {
		return Port{}, fmt.Errorf("%q is no interface name: at most 15 characters, no slash, colon or space", s.Interface)
	}
	t := &target{ns: s.Target}
	if s.Target == nil {
		t.ns, t.host = e.host, true
	}
	if err := e.refuseOverlay(t.ns); err != nil {
		return Port{}, err
	}
	if t.links, err = handleAt(t.ns); err != nil {
		return Port{}, fmt.Errorf("netlink in the target: %w", err)
	}
	defer t.links.Close()

	vp, inner, err := e.find(s, t)
	if err != nil {
		return Port{}, err
	}
	if inner == nil {
		defer func() {
			if err != nil {
				err = errors.Join(err, e.remove(l2bridge.PortName(s.ID)))
			}
		}()
		if vp, inner, err = e.create(s, t); err != nil {
			return Port{}, err
		}
	}
	if vp.Attrs().MTU != s.MTU {
		if err := e.links.LinkSetMTU(vp, s.MTU); err != nil {
			return Port{}, fmt.Errorf("%s: set mtu %d: %w", vp.Attrs().Name, s.MTU, err)
		}
	}
	if err := t.settle(inner, s); err != nil {
		return Port{}, err
	}
	if err := e.bridgePort(vp.Attrs().Name, s.VNI); err != nil {
		return Port{}, err
	}
	if err := errors.Join(carried(e.links, vp), carried(t.links, inner)); err != nil {
		return Port{}, err
	}
	if err := announce(t.ns, inner.Attrs().Index, s.MAC, s.Addresses); err != nil {
		return Port{}, err
	}
	addresses, err := t.addresses(inner)
	return Port{Interface: inner.Attrs().Name, MAC: s.MAC, Addresses: addresses}, err
}

// find returns both ends of an attachment that exists in this target. One in another target (the container was started
// anew), of another network, or that was left half made is removed.
func (e *Edge) find(s PortSpec, t *target) (vp, inner netlink.Link, err error) {
	vp, inner, err = e.locate(s.ID, t)
	if err != nil || vp == nil {
		return nil, nil, err
	}
	if was := parsePort(vp); inner == nil || was.Unfinished || was.VNI != s.VNI {
		return nil, nil, e.remove(vp.Attrs().Name)
	}
	if s.Interface != "" && s.Interface != inner.Attrs().Name {
		return nil, nil, fmt.Errorf("it is there already, as %s", inner.Attrs().Name)
	}
	return vp, inner, nil
}

// locate looks for an attachment: vp is nil if there is none, inner if its other end is not in this target.
func (e *Edge) locate(id string, t *target) (vp, inner netlink.Link, err error) {
	vp, err = e.links.LinkByName(l2bridge.PortName(id))
	if err != nil {
		if missing(err) {
			return nil, nil, nil
		}
		return nil, nil, err
	}
	namespace, err := e.links.GetNetNsIdByFd(int(t.ns.Fd()))
	if err != nil {
		return nil, nil, fmt.Errorf("target: %w", err)
	}
	inner, err = t.links.LinkByIndex(vp.Attrs().ParentIndex)
	if err != nil && !missing(err) {
		return nil, nil, err
	}
	// Interface numbers are each namespace's own: only together these say that the two are one pair.
	paired := err == nil && namespace == vp.Attrs().NetNsID && inner.Type() == "veth" && inner.Attrs().ParentIndex == vp.Attrs().Index
	if !paired {
		return vp, nil, nil
	}
	return vp, inner, nil
}

// create makes the pair, the inner end under a name that cannot clash with the target's own, and marks the host end as
// finished last.
func (e *Edge) create(s PortSpec, t *target) (vp, inner netlink.Link, err error) {
	if err := t.free(s.Interface); err != nil {
		return nil, nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = l2bridge.PortName(s.ID), s.MTU
	veth := netlink.NewVeth(attrs)
	veth.PeerName = "vt" + strings.TrimPrefix(attrs.Name, "vp")
	veth.PeerNamespace = netlink.NsFd(t.ns.Fd())
	veth.PeerHardwareAddr = s.MAC
	veth.PeerMTU = uint32(s.MTU)
	if err := e.links.LinkAdd(veth); err != nil {
		return nil, nil, fmt.Errorf("make the veth pair: %w", err)
	}
	inner, err = t.links.LinkByName(veth.PeerName)
	if err != nil {
		return nil, nil, err
	}
	if err := t.rename(&inner, s.Interface); err != nil {
		return nil, nil, err
	}
	mark := portMark(s, inner.Attrs().Name)
	if err := e.links.LinkSetAlias(veth, mark); err != nil {
		return nil, nil, fmt.Errorf("mark %s: %w", attrs.Name, err)
	}
	return veth, inner, nil
}

// bridgePort puts a host end into its network's bridge and brings it up.
func (e *Edge) bridgePort(name string, vni uint32) error {
	vp, err := e.links.LinkByName(name)
	if err != nil {
		return err
	}
	br, err := e.links.LinkByName(l2bridge.BridgeName(vni))
	if err != nil {
		return fmt.Errorf("network %06x has no bridge here: %w", vni, err)
	}
	if err := sysctl6(e.overlay, name, "disable_ipv6", "1"); err != nil {
		return fmt.Errorf("%s: switch IPv6 off: %w", name, err)
	}
	if vp.Attrs().MasterIndex != br.Attrs().Index {
		if err := e.links.LinkSetMaster(vp, br); err != nil {
			return fmt.Errorf("put %s into %s: %w", name, br.Attrs().Name, err)
		}
	}
	return e.links.LinkSetUp(vp)
}

// carried waits until an end of the pair carries frames. The kernel notices a carrier a moment late: until then the
// bridge does not forward and the other end has no queue, and what is sent is lost without an error.
func carried(links *netlink.Handle, end netlink.Link) error {
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		link, err := links.LinkByIndex(end.Attrs().Index)
		if err != nil {
			return err // the target went away
		}
		if link.Attrs().OperState == netlink.OperUp {
			// The rest happens under the lock that this takes, and that reading does not.
			return links.LinkSetUp(link)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not come up: it is %s", link.Attrs().Name, link.Attrs().OperState)
		}
	}
}

// Unplug removes an attachment, both ends. It is no error if it, or its target, is gone.
func (e *Edge) Unplug(id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.remove(l2bridge.PortName(id)); err != nil {
		return fmt.Errorf("detach %s: %w", id, err)
	}
	return nil
}

// markPrefix begins the alias (IFLA_IFALIAS) of a finished host end.
const markPrefix = "weavewg port"

// portMark is how a host end remembers what it belongs to, for a daemon that starts anew.
func portMark(s PortSpec, name string) string {
	return fmt.Sprintf("%s %06x %s %s %s", markPrefix, s.VNI, s.MAC, name, s.ID)
}

// parsePort reads the mark of a host end.
func parsePort(link netlink.Link) l2bridge.PortStatus {
	p := l2bridge.PortStatus{Link: link.Attrs().Name, Unfinished: true}
	rest, ok := strings.CutPrefix(link.Attrs().Alias, markPrefix+" ")
	fields := strings.SplitN(rest, " ", 4)
	if !ok || len(fields) != 4 {
		return p
	}
	vni, err := strconv.ParseUint(fields[0], 16, 24)
	if err != nil || l2bridge.PortName(fields[3]) != p.Link {
		return p
	}
	p.VNI, p.MAC, p.Interface, p.ID, p.Unfinished = uint32(vni), fields[1], fields[2], fields[3], false
	return p
}
