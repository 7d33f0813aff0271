package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// Limits of a configuration.
const (
	maxPeers = 256
	// minMTU is what IPv6 needs (RFC 8200, section 5); maxMTU leaves room in a datagram of 65,535 bytes for WireGuard over
	// IPv6 (80) and VXLAN (70).
	minMTU = 1280
	maxMTU = 65535 - 80 - 70
	// maxSocket is the longest path of a unix socket: sun_path has 108 bytes with the final NUL.
	maxSocket = 107
)

// namePattern is what names of meshes, nodes and networks are made of: they end up in DNS names, file names and tables.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// parser makes a Config of raw values and collects what is wrong with them.
type parser struct {
	errs     *Errors
	origins  origins
	base     string // directory that relative paths are taken from
	hostname string
	routes   []Route
}

// fault reports a fault of the value at path.
func (p *parser) fault(path, format string, args ...any) {
	p.errs.add(p.origins.of(path).where(), format, args...)
}

// parse checks everything once.
func (p *parser) parse(r raw) *Config {
	c := &Config{
		Mesh:        p.mesh(r.Mesh),
		Node:        Node{Name: p.nodeName(r.Node.Name)},
		Listen:      p.listen(r),
		Proxy:       p.proxy(r.Proxy),
		WireGuard:   p.oneOf("wireguard", r.WireGuard, "auto", "kernel", "userspace"),
		Datapath:    p.datapath(r.Datapath),
		Relay:       r.Relay,
		ForgetAfter: p.duration("forget_after", r.ForgetAfter),
		StateDir:    p.path("state_dir", r.StateDir),
		RunDir:      p.path("run_dir", r.RunDir),
		API:         API{Metrics: p.metrics(r.API.Metrics), Group: p.group(r.API.Group)},
		Log: Log{
			Level:  p.oneOf("log.level", r.Log.Level, "info", "debug", "warn", "error"),
			Format: p.oneOf("log.format", r.Log.Format, "auto", "console", "json"),
		},
	}
	if r.SecretFile == "" {
		r.SecretFile = c.Mesh + ".secret"
	}
	c.SecretFile = p.path("secret_file", r.SecretFile)
	if n := len(Socket(c.RunDir)); n > maxSocket {
		p.fault("run_dir", "run_dir: %s is too long for a socket: at most %d bytes", clip(c.RunDir), maxSocket-len(Socket("")))
	}
	for i, a := range r.Advertise {
		if addr, ok := p.advertised(indexed("advertise", i), a); ok {
			c.Advertise = append(c.Advertise, addr)
		}
	}
	c.Peers = p.peers(r.Peers)
	networks := []rawNetwork{{Name: "default"}}
	if r.Networks != nil {
		networks = *r.Networks
	}
	c.Networks, c.Warnings = p.networks(c.Mesh, networks)
	return c
}

// name checks the name of a mesh, node, network or group.
func (p *parser) name(path, name string) {
	switch {
	case len(name) > topology.MaxName:
		p.fault(path, "%s: %q is longer than %d bytes", path, clip(name), topology.MaxName)
	case !namePattern.MatchString(name):
		p.fault(path, "%s: %q: use letters, digits, and . _ - inside", path, clip(name))
	}
}

func (p *parser) mesh(name string) string {
	if name == "" {
		p.fault("mesh", `mesh: give your mesh a name, the same on every node, such as "mesh: home"`)
		return ""
	}
	p.name("mesh", name)
	return name
}

func (p *parser) nodeName(name string) string {
	if name != "" {
		p.name("node.name", name)
		return name
	}
	if len(p.hostname) > topology.MaxName || !namePattern.MatchString(p.hostname) {
		p.fault("node.name", "node.name: the host's name %q does not do; give the node a name of letters, digits, and . _ - inside", clip(p.hostname))
	}
	return p.hostname
}

func (p *parser) listen(r raw) Listen {
	l := Listen{Port: p.port("listen.port", r.Listen.Port)}
	if last := int(l.Port) + UDPPorts - 1; last > 65535 {
		p.fault("listen.port", "listen.port: %d leaves no room for the UDP ports %d..%d; use at most %d", l.Port, l.Port, last, 65535-UDPPorts+1)
	}
	for i, n := range r.Listen.AlsoTCP {
		path := indexed("listen.also_tcp", i)
		port := p.port(path, n)
		switch {
		case port == 0:
		case port == l.Port:
			p.fault(path, "%s: %d is listen.port already", path, n)
		case slices.Contains(l.AlsoTCP, port):
			p.fault(path, "%s: %d is given twice", path, n)
		default:
			l.AlsoTCP = append(l.AlsoTCP, port)
		}
	}
	if a := r.Listen.Address; a != "" {
		addr, err := netip.ParseAddr(a)
		switch {
		case err != nil:
			p.fault("listen.address", "listen.address: %q is not an IP address (empty: all)", clip(a))
		case addr.IsMulticast():
			p.fault("listen.address", "listen.address: %s is a multicast address", addr)
		case !addr.IsUnspecified():
			l.Address = addr
		}
	}
	return l
}

func (p *parser) port(path string, n int) uint16 {
	if n < 1 || n > 65535 {
		p.fault(path, "%s: %d is not in 1..65535", path, n)
		return 0
	}
	return uint16(n)
}

func (p *parser) advertised(path, s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		p.fault(path, "%s: %q is not an IP address", path, clip(s))
	case a.IsUnspecified() || a.IsMulticast() || a.Zone() != "":
		p.fault(path, "%s: nobody can dial %s", path, a)
	default:
		return a.Unmap(), true
	}
	return netip.Addr{}, false
}

func (p *parser) peers(typed []string) []string {
	if len(typed) > maxPeers {
		p.fault("peers", "peers: %d entries, at most %d: a few first contacts are enough", len(typed), maxPeers)
		return nil
	}
	var peers []string
	for i, s := range typed {
		path := indexed("peers", i)
		target, err := Target(s)
		switch {
		case err != nil:
			p.fault(path, "%s: %s", path, err)
		case slices.Contains(peers, target):
			p.fault(path, "%s: %s is given twice", path, target)
		default:
			peers = append(peers, target)
		}
	}
	return peers
}

// Target completes an address to dial, HOST[:PORT], to "host:port"; the default port is DefaultPort.
func Target(s string) (string, error) {
	if !strings.HasPrefix(s, "[") && strings.Count(s, ":") > 1 {
		return "", fmt.Errorf(`%q: put IPv6 addresses in brackets, such as "[2001:db8::1]:%d"`, clip(s), DefaultPort)
	}
	if len(s) > 300 {
		return "", fmt.Errorf("%q is too long for a host name", clip(s))
	}
	return topology.ParseTarget(s, DefaultPort)
}

func (p *parser) proxy(s string) string {
	if s == "" {
		return ""
	}
	if !strings.Contains(s, "://") {
		s = "http://" + s // as curl reads HTTPS_PROXY
	}
	// The value is never repeated: it may hold a password.
	u, err := url.Parse(s)
	switch {
	case err == nil && u.Scheme == "https":
		p.fault("proxy", "proxy: a proxy that is itself spoken to in TLS does not work here; want http://HOST:PORT")
		return ""
	case err != nil || u.Hostname() == "" || u.Scheme != "http":
		p.fault("proxy", "proxy: want http://HOST:PORT")
		return ""
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || n == 0) {
		p.fault("proxy", "proxy: port %s is not in 1..65535", clip(u.Port()))
		return ""
	}
	return s
}

// datapath refuses what it cannot keep rather than carry frames in another way than was asked for.
func (p *parser) datapath(value string) string {
	if value == "kernel" {
		p.fault("datapath", "datapath: kernel is not yet in this version; use auto or pcap")
		return ""
	}
	return p.oneOf("datapath", value, "auto", "kernel", "pcap")
}

func (p *parser) oneOf(path, value string, words ...string) string {
	if slices.Contains(words, value) {
		return value
	}
	hint := ""
	if w := nearest(value, words); w != "" {
		hint = fmt.Sprintf(" (did you mean %q?)", w)
	}
	p.fault(path, "%s: %q is not one of %s%s", path, clip(value), strings.Join(words, ", "), hint)
	return words[0]
}

func (p *parser) duration(path, s string) time.Duration {
	d, err := Duration(s)
	if err != nil {
		p.fault(path, "%s: %s", path, err)
	}
	return d
}

// Duration reads a time such as 90s, 12h or 7d; 0 needs no unit.
func Duration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok && err != nil {
		if n, e := strconv.ParseUint(days, 10, 16); e == nil {
			d, err = time.Duration(n)*24*time.Hour, nil
		}
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("%q is not a time such as 90s, 12h or 7d", clip(s))
	case d < 0:
		return 0, fmt.Errorf("%s is negative", clip(s))
	}
	return d, nil
}

// path makes a path absolute; a relative one is taken from the directory of the configuration.
func (p *parser) path(key, s string) string {
	switch {
	case s == "":
		p.fault(key, "%s: give a path", key)
		return ""
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }):
		p.fault(key, "%s: %q is not a path", key, clip(s))
		return ""
	case filepath.IsAbs(s):
		return filepath.Clean(s)
	}
	return filepath.Join(p.base, s)
}

func (p *parser) metrics(s string) string {
	if s == "" {
		return ""
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		p.fault("api.metrics", "api.metrics: %q is not ADDRESS:PORT, such as 127.0.0.1:6782 (empty: off)", clip(s))
		return ""
	}
	return a.String()
}

func (p *parser) group(s string) string {
	if s != "" {
		p.name("api.group", s)
	}
	return s
}

// indexed is the path of an element of a list.
func indexed(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
