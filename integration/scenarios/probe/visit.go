package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// visited is how a port treated a stranger.
type visited struct {
	Bytes   int           `json:"bytes"`   // that it answered
	Elapsed time.Duration `json:"elapsed"` // until it closed
	Closed  bool          `json:"closed"`
}

// visitPatience is how long a stranger waits for the port to close.
const visitPatience = 15 * time.Second

// visit connects without any secret, says something and counts what comes back.
func visit(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 2, "ADDR:PORT KIND"); err != nil {
		return nil, err
	}
	var conn net.Conn
	err := at.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, "tcp", args[0])
		return err
	})
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	start := time.Now()
	if err := conn.SetDeadline(start.Add(visitPatience)); err != nil {
		return nil, err
	}
	counted := &countingConn{Conn: conn}
	switch args[1] {
	case "silence":
		err = drain(counted)
	case "garbage":
		junk := make([]byte, 4096)
		if _, err := rand.Read(junk); err != nil {
			return nil, err
		}
		_, _ = conn.Write(junk) // it may be closed in the middle
		err = drain(counted)
	case "http":
		_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", args[0])
		err = drain(counted)
	case "tls":
		// Whoever has no knock must not even learn that this is TLS.
		err = tls.Client(counted, &tls.Config{InsecureSkipVerify: true, ServerName: "example.com"}).HandshakeContext(ctx)
	default:
		return nil, fmt.Errorf("no kind %q", args[1])
	}
	var timeout net.Error
	return visited{
		Bytes: counted.read, Elapsed: time.Since(start), Closed: !errors.As(err, &timeout) || !timeout.Timeout(),
	}, nil
}

// drain reads until the other side closes or the deadline comes.
func drain(c net.Conn) error {
	buf := make([]byte, 4096)
	for {
		if _, err := c.Read(buf); err != nil {
			return err
		}
	}
}

// countingConn counts what is read.
type countingConn struct {
	net.Conn
	read int
}

// Read implements net.Conn.
func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read += n
	return n, err
}
