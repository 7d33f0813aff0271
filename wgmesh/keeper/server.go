package keeper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge/netns"
)

// Settings of Run.
type Settings struct {
	RunDir string
	Host   *os.File  // the network namespace in which WireGuard's UDP sockets belong
	Output io.Writer // what children write
	Logger *zap.Logger
	Ready  func() // called once the socket is served
}

// server is the keeper's one state: who is connected, and the devices.
type server struct {
	Settings
	overlay *os.File
	host    *hostThread
	stop    context.CancelFunc
	tasks   sync.WaitGroup // sessions and supervisors

	mu      sync.Mutex
	daemon  *session
	devices map[string]*userDevice
}

// Run is the keeper: call it in a process whose network namespace is the overlay's. It returns when a client says stop
// or ctx ends, with every child ended; the namespace goes with the process.
func Run(ctx context.Context, settings Settings) error {
	lock, err := lockRunDir(settings.RunDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	overlay, err := netns.Own()
	if err != nil {
		return err
	}
	defer overlay.Close()
	if netns.Same(overlay, settings.Host) {
		return errors.New("the keeper is in the host's network namespace: weavewg up starts it in one of its own")
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	host, err := newHostThread(settings.Host)
	if err != nil {
		return err
	}
	defer host.close()

	path := socketPath(settings.RunDir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // we hold the lock, so whatever lies there is left over
	}
	listener, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return fmt.Errorf("keeper socket: %w", err)
	}
	defer listener.Close()
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &server{Settings: settings, overlay: overlay, host: host, stop: cancel, devices: map[string]*userDevice{}}
	defer s.tasks.Wait()
	defer cancel() // before the wait
	s.tasks.Go(func() { <-ctx.Done(); listener.Close() })
	settings.Ready()
	for {
		conn, err := listener.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil // it was closed because the keeper stops
			}
			return fmt.Errorf("keeper socket: %w", err)
		}
		s.tasks.Go(func() { s.serve(ctx, conn) })
	}
}

// lockRunDir makes sure that this is the only keeper of the folder. The lock goes with the process.
func lockRunDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(lockPath(dir), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("run_dir: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 20))
		return nil, errors.Join(fmt.Errorf("run_dir %s belongs to another keeper (pid %s)", dir, strings.TrimSpace(string(holder))), f.Close())
	}
	if err := f.Truncate(0); err == nil {
		_, _ = fmt.Fprintln(f, os.Getpid()) // only for the message above
	}
	return f, nil
}

func loopbackUp() error {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	defer handle.Close()
	lo, err := handle.LinkByName("lo")
	if err == nil {
		err = handle.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("bring lo up in the overlay namespace: %w", err)
	}
	return nil
}

// wireguard returns the pid of the child that serves the named device, making both where they do not exist.
func (s *server) wireguard(ctx context.Context, r request) (int, error) {
	if r.Name == "" || len(r.Name) >= unix.IFNAMSIZ || strings.ContainsAny(r.Name, "/ \x00") {
		return 0, fmt.Errorf("%q is no interface name", r.Name)
	}
	s.mu.Lock()
	d := s.devices[r.Name]
	if d != nil && !attached(d.tun) { // deleted by somebody, and perhaps its child has not noticed yet
		d.end()
		d = nil
	}
	if d == nil {
		tun, err := openTUN(r.Name)
		if err != nil {
			s.mu.Unlock()
			return 0, err
		}
		// Not of the session's context: the device outlives the daemon.
		life, stop := context.WithCancel(ctx)
		d = &userDevice{
			name: r.Name, mtu: r.MTU, procs: r.Procs, tun: tun, host: s.host, output: s.Output, log: s.Logger, notify: s.notify,
			stop: stop, ended: make(chan struct{}), started: make(chan struct{}),
		}
		s.devices[r.Name] = d
		s.tasks.Go(func() { d.supervise(life) })
	}
	s.mu.Unlock()
	select {
	case <-d.started:
	case <-d.ended:
	}
	return d.state()
}

func (s *server) drop(name string) {
	s.mu.Lock()
	d := s.devices[name]
	delete(s.devices, name)
	s.mu.Unlock()
	if d != nil {
		d.end()
	}
}

// dropAll ends every device at once.
func (s *server) dropAll() {
	s.mu.Lock()
	all := s.devices
	s.devices = map[string]*userDevice{}
	s.mu.Unlock()
	for _, d := range all {
		d.stop()
	}
	for _, d := range all {
		d.end()
	}
}

// notify tells the daemon, if there is one; without one nobody has to know: a daemon looks when it starts.
func (s *server) notify(e Event) {
	s.mu.Lock()
	daemon := s.daemon
	s.mu.Unlock()
	if daemon != nil {
		daemon.answer(reply{Event: &e}, nil)
	}
}
