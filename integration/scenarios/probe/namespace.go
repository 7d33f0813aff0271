package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/integration/lab"
)

// hold makes the process itself something to plug in, as a container would be.
func hold(ctx context.Context, _ lab.Place, _ []string) (any, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return nil, err
	}
	fmt.Println(os.Getpid())
	<-ctx.Done()
	return nil, nil
}

// execute replaces the probe by a program inside the namespace.
func execute(_ context.Context, at lab.Place, args []string) (any, error) {
	if len(args) == 0 {
		return nil, errors.New("no program given")
	}
	program, err := exec.LookPath(args[0])
	if err != nil {
		return nil, err
	}
	return nil, at.Do(func() error { return syscall.Exec(program, args, os.Environ()) })
}

// macOf reads a hardware address, or that of an interface.
func macOf(at lab.Place, s string) (mac net.HardwareAddr, err error) {
	if mac, err := net.ParseMAC(s); err == nil {
		return mac, nil
	}
	err = at.Do(func() error {
		dev, err := net.InterfaceByName(s)
		if err != nil {
			return fmt.Errorf("%q is neither a MAC address nor an interface: %w", s, err)
		}
		mac = dev.HardwareAddr
		return nil
	})
	return mac, err
}
