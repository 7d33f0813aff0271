package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// Home is a network behind a NAT box, for IPv4. UDP is translated as the box's kind says; TCP and the rest share the
// public address, and nothing inside can be reached that did not ask.
type Home struct {
	Router *Host
	// Switch is the network inside.
	Switch *Switch
	// Outside and Inside are the router's links.
	Outside, Inside *Link

	lab  *Lab
	name string
	spec homeSpec

	mu    sync.Mutex
	rules natRules
	taken netip.Addr // the last address given away inside
}

// HomeOption changes a NAT box.
type HomeOption func(*homeSpec)

type homeSpec struct {
	hairpin bool
	timeout time.Duration
	gateway netip.Addr
	uplink  []LinkOption
}

// Hairpin lets hosts inside reach each other at their public endpoints, as RFC 4787, section 6, wants it: with the
// sender's public endpoint as source. A symmetric box cannot.
func Hairpin() HomeOption { return func(s *homeSpec) { s.hairpin = true } }

// UDPTimeout is how long the box remembers UDP that is silent in both directions, in whole seconds; 2 minutes by
// default (RFC 4787, section 4.3).
func UDPTimeout(d time.Duration) HomeOption { return func(s *homeSpec) { s.timeout = d } }

// Gateway is the box's default route; without it the box reaches the outside network alone.
func Gateway(via netip.Addr) HomeOption { return func(s *homeSpec) { s.gateway = via } }

// Uplink changes the link between the box and the outside network.
func Uplink(opts ...LinkOption) HomeOption { return func(s *homeSpec) { s.uplink = opts } }

// Home adds a NAT box between a switch and a network of its own. Outside is the box's address on the switch, inside
// the one in its network, each with the length of the network's prefix; hosts inside get the addresses after it.
func (l *Lab) Home(name string, public *Switch, outside, inside netip.Prefix, kind NATKind, opts ...HomeOption) (*Home, error) {
	h := &Home{lab: l, name: name, spec: homeSpec{timeout: 2 * time.Minute}, taken: inside.Addr()}
	for _, o := range opts {
		o(&h.spec)
	}
	if err := h.spec.validate(kind, outside, inside); err != nil {
		return nil, fmt.Errorf("home %s: %w", name, err)
	}
	var err error
	if h.Router, err = l.Router(name); err != nil {
		return nil, err
	}
	if h.Switch, err = l.Switch(name); err != nil {
		return nil, err
	}
	if h.Outside, err = l.Link(h.Router, public, []netip.Prefix{outside}, h.spec.uplink...); err != nil {
		return nil, err
	}
	if h.Inside, err = l.Link(h.Router, h.Switch, []netip.Prefix{inside}); err != nil {
		return nil, err
	}
	if h.spec.gateway.IsValid() {
		if err := h.Router.AddRoute(anywhere, h.spec.gateway); err != nil {
			return nil, err
		}
	}
	h.rules = natRules{
		kind: kind, inside: h.Inside, outside: h.Outside, site: inside.Masked(), public: outside.Addr(),
		hairpin: h.spec.hairpin, timeout: h.spec.timeout,
	}
	if err := h.apply(); err != nil {
		return nil, err
	}
	if err := h.setTimeouts(); err != nil {
		return nil, err
	}
	return h, nil
}

// anywhere is the destination of a default route.
var anywhere = netip.MustParsePrefix("0.0.0.0/0")

func (s homeSpec) validate(kind NATKind, outside, inside netip.Prefix) error {
	switch {
	case kind > Symmetric:
		return fmt.Errorf("%s is not known", kind)
	case !outside.Addr().Is4() || !inside.Addr().Is4():
		return fmt.Errorf("%s and %s: NAT boxes are for IPv4", outside, inside)
	case s.timeout < time.Second || s.timeout%time.Second != 0:
		return fmt.Errorf("a UDP timeout of %s: connection tracking counts in whole seconds", s.timeout)
	case s.hairpin && kind == Symmetric:
		return errors.New("a symmetric box has no public endpoint that others could send to: no hairpins")
	}
	return nil
}

// Home adds a NAT box inside this one: double NAT.
func (h *Home) Home(name string, inside netip.Prefix, kind NATKind, opts ...HomeOption) (*Home, error) {
	outside, err := h.nextAddr()
	if err != nil {
		return nil, err
	}
	opts = append([]HomeOption{Gateway(h.Inside.Addrs[0].Addr())}, opts...)
	return h.lab.Home(name, h.Switch, outside, inside, kind, opts...)
}

// Host adds a host inside, with the next free address and the box as its default route.
func (h *Home) Host(name string, opts ...LinkOption) (*Link, error) {
	addr, err := h.nextAddr()
	if err != nil {
		return nil, err
	}
	host, err := h.lab.Host(name)
	if err != nil {
		return nil, err
	}
	link, err := h.lab.Link(host, h.Switch, []netip.Prefix{addr}, opts...)
	if err != nil {
		return nil, err
	}
	return link, host.AddRoute(anywhere, h.Inside.Addrs[0].Addr())
}

// Take moves a host from wherever it is into this home, with the next free address here; see Link.Move.
func (h *Home) Take(k *Link) error {
	addr, err := h.nextAddr()
	if err != nil {
		return err
	}
	return k.Move(h.Switch, []netip.Prefix{addr}, h.Inside.Addrs[0].Addr())
}

func (h *Home) nextAddr() (netip.Prefix, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	next := h.taken.Next()
	if !h.rules.site.Contains(next) {
		return netip.Prefix{}, fmt.Errorf("home %s: %s is full", h.name, h.rules.site)
	}
	h.taken = next
	return netip.PrefixFrom(next, h.rules.site.Bits()), nil
}

// Public is the address that the outside sees.
func (h *Home) Public() netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rules.public
}

// Rebind makes the box forget all of UDP and TCP, as if it were switched off and on: the next packet of a host gets
// another public port, and nothing comes in before it.
func (h *Home) Rebind() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		for _, name := range h.rules.books() {
			c.FlushSet(natBook(name))
		}
		if err := c.Flush(); err != nil {
			return err
		}
		// The books first: a connection made in between has a new port, whereas an old port would outlive its mapping.
		return netlink.ConntrackTableFlush(netlink.ConntrackTable)
	})
	if err != nil {
		return fmt.Errorf("home %s: forget mappings: %w", h.name, err)
	}
	return nil
}

// Renumber gives the box another public address on the same switch; mappings are forgotten.
func (h *Home) Renumber(outside netip.Prefix) error {
	if err := h.Outside.SetAddr(h.Outside.Addrs[0], outside); err != nil {
		return err
	}
	h.mu.Lock()
	h.rules.public = outside.Addr()
	err := h.apply()
	h.mu.Unlock()
	if err != nil {
		return err
	}
	return h.Rebind()
}

const natTable = "nat"

// natBook is one of natRules.books.
func natBook(name string) *nftables.Set {
	return &nftables.Set{Table: &nftables.Table{Family: nftables.TableFamilyIPv4, Name: natTable}, Name: name}
}

func (h *Home) apply() error {
	return h.Router.setTable(nftables.TableFamilyIPv4, natTable, h.rules.build)
}

// setTimeouts comes after the rules, which load connection tracking where it is a module.
func (h *Home) setTimeouts() error {
	seconds := strconv.Itoa(int(h.spec.timeout / time.Second))
	err := h.Router.Do(func() error {
		return errors.Join(
			sysctl("netfilter/nf_conntrack_udp_timeout", seconds), sysctl("netfilter/nf_conntrack_udp_timeout_stream", seconds),
			// A TCP connection that the box forgot is broken: its packets do not begin a new one.
			sysctl("netfilter/nf_conntrack_tcp_loose", "0"))
	})
	if err != nil {
		return fmt.Errorf("home %s: timeouts: %w", h.name, err)
	}
	return nil
}
