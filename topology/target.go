package topology

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ParseTarget returns the canonical form of an address to dial, "host:port": names in lower case, IP addresses in
// their shortest form, IPv6 in brackets, defaultPort where none is given. The error says what to write instead.
func ParseTarget(s string, defaultPort uint16) (string, error) {
	if s == "" {
		return "", errors.New("address is empty: write a host name or an IP address, with :port if it is not " +
			strconv.Itoa(int(defaultPort)))
	}
	host, port, err := splitTarget(s, defaultPort)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", s, err)
	}
	if host, err = canonicalHost(host); err != nil {
		return "", fmt.Errorf("address %q: %w", s, err)
	}
	return net.JoinHostPort(host, strconv.Itoa(int(port))), nil
}

// splitTarget takes s apart at its port, and the brackets off.
func splitTarget(s string, defaultPort uint16) (host string, port uint16, err error) {
	if strings.Contains(s, "//") {
		return "", 0, errors.New("is a URL: write host:port only")
	}
	if a, err := netip.ParseAddr(s); err == nil {
		if last := s[strings.LastIndexByte(s, ':')+1:]; a.Is6() && last == strconv.Itoa(int(defaultPort)) {
			return "", 0, fmt.Errorf("does %s belong to the address? write [%s]:%s, or the address in brackets",
				last, strings.TrimSuffix(s, ":"+last), last)
		}
		return s, defaultPort, nil
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		literal, after, ok := strings.Cut(inner, "]")
		if a, err := netip.ParseAddr(literal); !ok || err != nil || !a.Is6() {
			return "", 0, errors.New("brackets are for IPv6 addresses: write [address]:port")
		}
		if after == "" {
			return literal, defaultPort, nil
		}
		digits, ok := strings.CutPrefix(after, ":")
		if !ok {
			return "", 0, errors.New("has something after the bracket: write [address]:port")
		}
		port, err := parsePort(digits)
		return literal, port, err
	}
	host, digits, hasPort := strings.Cut(s, ":")
	switch {
	case strings.Contains(digits, ":"):
		return "", 0, errors.New("has too many colons: write an IPv6 address as [address]:port")
	case !hasPort:
		return host, defaultPort, nil
	}
	port, err = parsePort(digits)
	return host, port, err
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '+' {
		return 0, fmt.Errorf("port %q is not in 1..65535", s)
	}
	return uint16(n), nil
}

// canonicalHost checks a name by RFC 1123, with underscores, which container names have.
func canonicalHost(host string) (string, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		a = a.Unmap()
		if a.IsUnspecified() || a.IsMulticast() {
			return "", fmt.Errorf("nobody can be reached at %v: write the address of one host", a)
		}
		return a.String(), nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "" || len(name) > 253 {
		return "", errors.New("host name must have 1 to 253 characters")
	}
	labels := strings.Split(name, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") {
			return "", fmt.Errorf("%q is no host name", host)
		}
		if i := strings.IndexFunc(l, notInName); i >= 0 {
			return "", fmt.Errorf("%q is no host name: it holds %q", host, []rune(l[i:])[0])
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "", fmt.Errorf("%q is neither a host name nor an IPv4 address", host)
	}
	return name, nil
}

func notInName(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_'
}
