package keeper

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const clonePath = "/dev/net/tun"

// openTUN makes a TUN interface in the calling process's network namespace. The interface lives while a descriptor of
// it is open. The flags are wireguard-go's own: IP packets as they are, each after a virtio-net header, so that
// segmentation can be left to us (linux/if_tun.h).
func openTUN(name string) (*os.File, error) {
	// Blocking, until a child takes it over: the runtime's poller would wake this process too with each of its packets.
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
			return nil, fmt.Errorf("%s is missing: load the tun module (modprobe tun), or give the container that device", clonePath)
		}
		return nil, fmt.Errorf("open %s: %w", clonePath, err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make TUN interface %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), clonePath), nil
}

// attached says whether the interface behind a TUN descriptor still exists: deleting it detaches the descriptor for
// good, and TUNGETIFF answers EBADFD then.
func attached(tun *os.File) bool {
	raw, err := tun.SyscallConn()
	if err != nil {
		return false
	}
	ok := false
	err = raw.Control(func(fd uintptr) {
		request, err := unix.NewIfreq("")
		ok = err == nil && unix.IoctlIfreq(int(fd), unix.TUNGETIFF, request) == nil
	})
	return err == nil && ok
}

// openLinkSocket opens a netlink socket that hears of every link change in the calling process's namespace. A child
// works in another namespace and learns its interface's MTU from it.
func openLinkSocket() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind netlink socket: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}
