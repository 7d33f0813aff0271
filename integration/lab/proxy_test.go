package lab

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// connect asks a proxy for a tunnel and says what it answered.
func connect(t *testing.T, from Place, proxy, to, authorization string) (status int, tunnelled bool) {
	t.Helper()
	c := dial(t, from, proxy)
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		authorization = "Proxy-Authorization: Basic " + authorization + "\r\n"
	}
	if _, err := fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", to, to, authorization); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.StatusCode == http.StatusOK && echoes(t, c, []byte("x"))
}

// A site whose only way out is a proxy on its router.
func TestProxy(t *testing.T) {
	s := newSite(t)
	echo(t, s.server.Host, 443)
	echo(t, s.server.Host, 22)
	if _, err := s.link.OnlyTLS443(); err != nil {
		t.Fatal(err)
	}
	spec := ProxySpec{Port: 3128, Connect: []uint16{443}}
	if _, err := ServeProxy(within(t, 10*time.Second), s.router, spec); err != nil {
		t.Fatal(err)
	}
	if status, ok := connect(t, s.host.Host, "10.1.0.1:3128", "10.2.0.2:443", ""); !ok {
		t.Errorf("CONNECT to 443: %d", status)
	}
	if status, ok := connect(t, s.host.Host, "[fd01::1]:3128", "[fd02::2]:443", ""); !ok {
		t.Errorf("CONNECT to 443 over IPv6: %d", status)
	}
	if status, _ := connect(t, s.host.Host, "10.1.0.1:3128", "10.2.0.2:22", ""); status != http.StatusForbidden {
		t.Errorf("CONNECT to 22: %d", status)
	}
	spec = ProxySpec{Port: 3129, User: "user", Password: "word"}
	proxy, err := ServeProxy(within(t, 10*time.Second), s.router, spec)
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := connect(t, s.host.Host, "10.1.0.1:3129", "10.2.0.2:22", ""); status != http.StatusProxyAuthRequired {
		t.Errorf("CONNECT without a password: %d", status)
	}
	if status, ok := connect(t, s.host.Host, "10.1.0.1:3129", "10.2.0.2:22", "dXNlcjp3b3Jk"); !ok {
		t.Errorf("CONNECT with a password: %d; %+v", status, proxy.Output())
	}
	// Its end is reported, and not waited out.
	spec.User = "user name"
	spec.Port++
	_, err = ServeProxy(within(t, 10*time.Second), s.router, spec)
	if err == nil || !strings.Contains(err.Error(), "tinyproxy: exit") {
		t.Errorf("a configuration that makes no sense: %v", err)
	}
}
