package control

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// maxProxyAnswer bounds what a proxy may say before the tunnel stands.
const maxProxyAnswer = 16 << 10

// ProxyFrom returns a Config.Proxy for a proxy's URL, or for what HTTPS_PROXY and NO_PROXY say now if that is empty.
func ProxyFrom(setting string) (func(target string) (*url.URL, error), error) {
	if setting == "" {
		environment := httpproxy.FromEnvironment().ProxyFunc()
		return func(target string) (*url.URL, error) { return environment(&url.URL{Scheme: "https", Host: target}) }, nil
	}
	proxy, err := url.Parse(setting)
	if err != nil {
		return nil, errors.New("proxy: want http://host:port") // err shows a password
	}
	if _, err := proxyAddress(proxy); err != nil {
		return nil, err
	}
	return func(string) (*url.URL, error) { return proxy, nil }, nil
}

// throughProxy asks an HTTP proxy for a tunnel to target (CONNECT, RFC 9110, section 9.3.6) and returns it. It owns
// conn: an error closes it.
func throughProxy(ctx context.Context, conn net.Conn, proxy *url.URL, target string) (tunnel net.Conn, err error) {
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	request := "CONNECT " + target + " HTTP/1.1\r\nHost: " + target + "\r\n"
	if user := proxy.User; user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		request += "Proxy-Authorization: Basic " + credentials + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return nil, err
	}
	// One byte at a time, so that nothing of the tunnel is read with the answer.
	answer := bufio.NewReaderSize(&byteReader{io.LimitReader(conn, maxProxyAnswer)}, 16)
	response, err := http.ReadResponse(answer, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close() // there is none after CONNECT
	if response.StatusCode/100 != 2 {
		return nil, fmt.Errorf("it says %q", oneLine(response.Status))
	}
	if answer.Buffered() > 0 {
		return nil, errors.New("it sends more than an answer")
	}
	if !stop() {
		return nil, context.Cause(ctx)
	}
	return &tunnelConn{conn, target}, nil
}

// tunnelConn is a connection through a proxy. Its far end is not the address that TCP knows: that is the proxy's.
type tunnelConn struct {
	net.Conn
	target string
}

// RemoteAddr returns what the proxy was asked for.
func (c *tunnelConn) RemoteAddr() net.Addr { return tunnelAddr(c.target) }

// tunnelAddr is a target beyond a proxy as a net.Addr.
type tunnelAddr string

// Network names the kind of address.
func (tunnelAddr) Network() string { return "proxy" }

// String returns the target.
func (a tunnelAddr) String() string { return string(a) }

// byteReader reads one byte at a time.
type byteReader struct{ r io.Reader }

func (b *byteReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return b.r.Read(p[:1])
}

// proxyAddress returns where a proxy listens; only proxies that are spoken to in plain HTTP are known, as what runs in
// the tunnel is TLS anyway.
func proxyAddress(proxy *url.URL) (string, error) {
	if proxy.Scheme != "http" || proxy.Hostname() == "" {
		return "", fmt.Errorf("proxy %s: want http://host:port", proxy.Redacted())
	}
	port := proxy.Port()
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(proxy.Hostname(), port), nil
}
