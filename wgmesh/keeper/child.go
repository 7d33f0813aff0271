package keeper

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"runtime"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
)

// ChildMain is the hidden command `weavewg wireguard NAME`: one WireGuard device in user space, configured through its
// UAPI socket (wgctrl, wg) like wireguard-go's own program. Its TUN is in the overlay's namespace, its UDP sockets are
// in the one that it runs in. Only the keeper starts it.
func ChildMain(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("weavewg wireguard", flag.ContinueOnError)
	mtu := flags.Int("mtu", device.DefaultMTU, "MTU until the interface says otherwise")
	procs := flags.Int("procs", 0, "threads that run Go code at a time; 0: as many as processors")
	if err := flags.Parse(args); err != nil {
		return err
	}
	name := flags.Arg(0)
	if name == "" {
		return errors.New("weavewg wireguard is started by the keeper, not by hand")
	}
	if err := unix.SetNonblock(fdLinks, true); err != nil { // so that closing it ends a read
		return fmt.Errorf("weavewg wireguard is started by the keeper, not by hand: %w", err)
	}
	links, err := inherited(fdLinks, "link socket")
	if err != nil {
		return err
	}
	ready, err := inherited(fdReady, "ready")
	if err != nil {
		return err
	}
	defer ready.Close()
	unix.CloseOnExec(fdTUN)
	nameProcess(name)
	if *procs > 0 {
		runtime.GOMAXPROCS(*procs)
	}
	small := *procs == 1
	if small {
		_ = yielding() // slower, no worse
	}
	// Keys are in this process's memory: no core dumps, no reading by other processes of the same user.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl: %w", err)
	}
	tun, err := newChildTUN(fdTUN, links, name, *mtu)
	if err != nil {
		return err
	}
	tun.yields = small
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM)
	defer stop()
	signal.Ignore(unix.SIGHUP, unix.SIGINT)
	return serveDevice(ctx, tun, name, ready)
}

// serveDevice runs the device until ctx ends, its TUN goes, or its socket is removed (the UAPI's way to say stop).
func serveDevice(ctx context.Context, tun *childTUN, name string, ready *os.File) error {
	socket, err := ipc.UAPIOpen(name) // removes what a killed predecessor left, and refuses if that lives
	if err != nil {
		return errors.Join(fmt.Errorf("UAPI socket of %s: %w", name, err), tun.Close())
	}
	logger := &device.Logger{Verbosef: device.DiscardLogf, Errorf: log.New(os.Stderr, name+": ", log.LstdFlags).Printf}
	dev := device.NewDevice(tun, newChildBind(), logger)
	defer dev.Close()
	uapi, err := ipc.UAPIListen(name, socket)
	if err != nil {
		return fmt.Errorf("UAPI socket of %s: %w", name, err)
	}
	defer uapi.Close()
	// Unmonitored, the device would wait for ever for an event that says so.
	if err := dev.Up(); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	if _, err := ready.Write([]byte{1}); err != nil {
		return fmt.Errorf("tell the keeper: %w", err)
	}
	ready.Close()

	failed := make(chan error, 1)
	go func() {
		for {
			client, err := uapi.Accept()
			if err != nil {
				failed <- err
				return
			}
			go dev.IpcHandle(client)
		}
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-dev.Wait():
		return fmt.Errorf("interface %s is gone", name)
	case err := <-failed:
		return fmt.Errorf("UAPI socket of %s: %w", name, err)
	}
}
