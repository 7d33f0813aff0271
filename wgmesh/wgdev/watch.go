package wgdev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// Watch sends on the channel when a link, an address or a route of the overlay namespace changed, or news of that were
// lost (ENOBUFS): look again, at everything. Changes that come together are one. The channel is closed when ctx ends.
func Watch(ctx context.Context, overlay *os.File) (<-chan struct{}, error) {
	var fd int
	err := netns.Do(overlay, func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("watch the overlay namespace: %w", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(fmt.Errorf("watch the overlay namespace: %w", err), unix.Close(fd))
	}
	socket := os.NewFile(uintptr(fd), "netlink")
	dirty := make(chan struct{}, 1)
	release := context.AfterFunc(ctx, func() { socket.Close() })
	go func() {
		defer close(dirty)
		defer release()
		defer socket.Close()
		relay(socket, dirty)
	}()
	return dirty, nil
}

// relay turns messages into marks until there are no more to read. An overrun is news too: of what, nobody knows.
func relay(messages io.Reader, dirty chan<- struct{}) {
	buf := make([]byte, 1<<16)
	for {
		_, err := messages.Read(buf)
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		select {
		case dirty <- struct{}{}:
		default:
		}
	}
}
