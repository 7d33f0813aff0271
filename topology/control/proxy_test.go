package control

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxy is an HTTP proxy on loopback that knows CONNECT; answer, if set, is all that it says.
func proxyServer(t *testing.T, answer string) (*url.URL, func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var asked []string
	var tasks sync.WaitGroup
	carry := func(client net.Conn) {
		defer client.Close()
		r := bufio.NewReader(client)
		request, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		mu.Lock()
		asked = append(asked, request.Method+" "+request.Host+" "+request.Header.Get("Proxy-Authorization"))
		mu.Unlock()
		if answer != "" {
			_, _ = io.WriteString(client, answer)
			_, _ = io.Copy(io.Discard, client)
			return
		}
		server, err := net.Dial("tcp", request.Host)
		if err != nil {
			_, _ = io.WriteString(client, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
			return
		}
		defer server.Close()
		_, _ = io.WriteString(client, "HTTP/1.1 200 Connection established\r\nX-Proxy: test\r\n\r\n")
		tasks.Go(func() { _, _ = io.Copy(server, r); server.Close() })
		_, _ = io.Copy(client, server)
	}
	tasks.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() { carry(client) })
		}
	})
	t.Cleanup(func() { l.Close(); tasks.Wait() })
	return &url.URL{Scheme: "http", Host: l.Addr().String(), User: url.UserPassword("joe", "geheim")}, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), asked...)
	}
}

func TestDialThroughProxy(t *testing.T) {
	proxy, asked := proxyServer(t, "")
	a := newNode(t, func(c *Config) { c.Proxy = func(string) (*url.URL, error) { return proxy, nil } })
	_, target, sessions := serve(t, newNode(t, nil))
	s, err := a.Dial(within(t, 5*time.Second), target)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close("")
	other := <-sessions
	defer other.Close("")
	ctx := within(t, 5*time.Second)
	if err := s.Send(ctx, ping(1)); err != nil {
		t.Fatal(err)
	}
	if m, err := other.Receive(ctx); err != nil || m.Ping == nil {
		t.Fatal(err)
	}
	if s.Remote.IsValid() || !other.Remote.IsValid() || s.conn.meter.RemoteAddr().String() != target {
		t.Fatalf("remote %v: the proxy is not the peer", s.Remote)
	}
	if got := asked(); len(got) != 1 || got[0] != "CONNECT "+target+" Basic am9lOmdlaGVpbQ==" {
		t.Fatalf("asked %q", got)
	}
}

func TestProxyRefusals(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"forbidden": {"HTTP/1.1 403 Forbidden by policy\r\nContent-Length: 0\r\n\r\n", `it says "403 Forbidden by policy"`},
		"gateway":   {"", `it says "502 Bad Gateway"`},
		"not HTTP":  {"SSH-2.0-OpenSSH\r\n", "malformed HTTP"},
		"endless":   {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2*maxProxyAnswer), "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			proxy, _ := proxyServer(t, c.answer)
			a := newNode(t, func(c *Config) { c.Proxy = func(string) (*url.URL, error) { return proxy, nil } })
			_, err := a.Dial(within(t, 5*time.Second), "127.0.0.1:1")
			if kindOf(err) != Unreachable || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "geheim") {
				t.Fatalf("got %v", err)
			}
		})
	}
	for _, bad := range []string{"https://proxy.example", "socks5://proxy.example:1080", "http://"} {
		u, err := url.Parse(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proxyAddress(u); err == nil || !strings.Contains(err.Error(), "want http://host:port") {
			t.Fatalf("%s: %v", bad, err)
		}
	}
	if at, err := proxyAddress(&url.URL{Scheme: "http", Host: "proxy.example"}); err != nil || at != "proxy.example:80" {
		t.Fatal(at, err)
	}
}

func TestProxyFrom(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://environment.example:3128")
	t.Setenv("NO_PROXY", "10.0.0.0/8,.lan")
	for _, c := range []struct{ setting, target, want string }{
		{"", "beta.example:6783", "http://environment.example:3128"},
		{"", "10.1.2.3:6783", "<nil>"},
		{"", "gamma.lan:6783", "<nil>"},
		{"", "127.0.0.1:6783", "<nil>"},
		{"http://own.example:8080", "10.1.2.3:6783", "http://own.example:8080"},
	} {
		choose, err := ProxyFrom(c.setting)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := choose(c.target); err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%q for %s: %v, %v", c.setting, c.target, got, err)
		}
	}
	for _, bad := range []string{"http://joe:geheim@[", "https://joe:geheim@proxy.example"} {
		if _, err := ProxyFrom(bad); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
