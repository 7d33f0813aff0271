package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// flooded is what a flood did.
type flooded struct {
	Opened int64 `json:"opened"` // connections in all
	Bytes  int64 `json:"bytes"`  // that came back
}

// flood keeps COUNT connections to a port until a signal, from each source address in turn: each begins to speak TLS, says
// a byte a second more, and is opened anew when it is closed. It prints a line when all were open once.
func flood(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 3, "ADDR:PORT COUNT FROM…"); err != nil {
		return nil, err
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return nil, err
	}
	var sources []*net.TCPAddr
	for _, from := range args[2:] {
		ip := net.ParseIP(from)
		if ip == nil {
			return nil, fmt.Errorf("%q is no address", from)
		}
		sources = append(sources, &net.TCPAddr{IP: ip})
	}
	var opened, bytes atomic.Int64
	var all, once sync.WaitGroup
	for i := range count {
		from := net.Dialer{LocalAddr: sources[i%len(sources)], Timeout: 5 * time.Second}
		once.Add(1)
		first := sync.OnceFunc(once.Done)
		all.Go(func() {
			defer first()
			for ctx.Err() == nil {
				var conn net.Conn
				err := at.Do(func() (err error) {
					conn, err = from.DialContext(ctx, "tcp", args[0])
					return err
				})
				if err == nil {
					opened.Add(1)
					bytes.Add(crawl(ctx, conn))
				}
				first()
				select {
				case <-ctx.Done():
				case <-time.After(500 * time.Millisecond):
				}
			}
		})
	}
	once.Wait()
	fmt.Println(`"flooding"`)
	all.Wait()
	return flooded{Opened: opened.Load(), Bytes: bytes.Load()}, nil
}

// crawl says the beginning of a TLS handshake record (RFC 8446, section 5.1) byte by byte until the other side closes, and
// counts what it answers.
func crawl(ctx context.Context, conn net.Conn) int64 {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	record := append([]byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3}, make([]byte, 512)...)
	var got int64
	for _, b := range record {
		if _, err := conn.Write([]byte{b}); err != nil {
			break
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			break
		}
		n, err := conn.Read(make([]byte, 512))
		got += int64(n)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return got
}
