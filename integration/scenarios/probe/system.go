package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/weavewg/weavewg/integration/lab"
)

// processInfo is one line of ps.
type processInfo struct {
	PID    int      `json:"pid"`
	Parent int      `json:"parent"`
	Args   []string `json:"args"`
}

// processes lists those whose command line, with blanks between its words, holds a text; not the probe itself.
func processes(_ context.Context, _ lab.Place, args []string) (any, error) {
	if err := want(args, 1, "TEXT"); err != nil {
		return nil, err
	}
	found := []processInfo{}
	err := eachProcess(func(pid int, dir string) {
		line, err := os.ReadFile(dir + "/cmdline")
		words := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		if err != nil || !strings.Contains(strings.Join(words, " "), args[0]) {
			return // it has ended, or is another
		}
		found = append(found, processInfo{PID: pid, Parent: parent(dir), Args: words})
	})
	return found, err
}

func eachProcess(f func(pid int, dir string)) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			f(pid, "/proc/"+e.Name())
		}
	}
	return nil
}

// parent reads PPid of /proc/PID/status, 0 if the process has ended.
func parent(dir string) int {
	status, _ := os.ReadFile(dir + "/status")
	for line := range strings.Lines(string(status)) {
		if s, ok := strings.CutPrefix(line, "PPid:"); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(s))
			return pid
		}
	}
	return 0
}

// search looks for a text where it should not be: in command lines and environments of all processes, and in files
// and folders that are named. Its own command line is left out.
func search(_ context.Context, _ lab.Place, args []string) (any, error) {
	if err := want(args, 1, "TEXT PATH…"); err != nil {
		return nil, err
	}
	text := []byte(args[0])
	found := []string{}
	own := map[int]bool{os.Getppid(): true} // who started the probe may be a shell with its command line
	err := eachProcess(func(pid int, dir string) {
		for _, name := range []string{"/cmdline", "/environ"} {
			b, err := os.ReadFile(dir + name)
			if err == nil && bytes.Contains(b, text) && !own[pid] {
				found = append(found, dir+name)
			}
		}
	})
	for _, root := range args[1:] {
		err = errors.Join(err, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(path)
			if err == nil && bytes.Contains(b, text) {
				found = append(found, path)
			}
			return err
		}))
	}
	return found, err
}

// get fetches a page from inside the namespace.
func get(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 1, "URL"); err != nil {
		return nil, err
	}
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
			err = at.Do(func() error {
				conn, err = new(net.Dialer).DialContext(ctx, network, addr)
				return err
			})
			return conn, err
		},
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, args[0], nil)
	if err != nil {
		return nil, err
	}
	r, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	return string(body), err
}

// squat takes a port on all addresses, so that nobody else can have it.
func squat(ctx context.Context, at lab.Place, args []string) (any, error) {
	if err := want(args, 2, "tcp|udp PORT"); err != nil {
		return nil, err
	}
	var held io.Closer
	err := at.Do(func() (err error) {
		if args[0] == "tcp" {
			held, err = new(net.ListenConfig).Listen(ctx, "tcp", ":"+args[1])
		} else {
			held, err = new(net.ListenConfig).ListenPacket(ctx, "udp", ":"+args[1])
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	fmt.Println(`"squatting"`)
	<-ctx.Done()
	return nil, held.Close()
}
