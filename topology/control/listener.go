package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Listener accepts control connections on one or more addresses and makes sessions of those that come from members.
type Listener struct {
	shaker  *Handshaker
	sockets []net.Listener
	gate    *gate
}

// PortError says which port could not be had.
type PortError struct {
	Address string
	Port    uint16
	Taken   bool // by another socket
	Err     error
}

// Error says it in one line.
func (e *PortError) Error() string {
	if e.Taken {
		return fmt.Sprintf("port %d/tcp is taken (%s): set listen.port", e.Port, e.Address)
	}
	return fmt.Sprintf("listen on %s: %v", e.Address, e.Err)
}

// Unwrap returns the cause.
func (e *PortError) Unwrap() error { return e.Err }

// Listen opens the sockets, all of them or none. An address is "host:port"; no host means all of IPv4 and IPv6. Errors
// are *PortError. Nothing is accepted before Serve.
func (h *Handshaker) Listen(ctx context.Context, addresses ...string) (*Listener, error) {
	l := &Listener{shaker: h, gate: newGate()}
	config := net.ListenConfig{KeepAliveConfig: keepAlive, Control: func(_, _ string, c syscall.RawConn) error {
		return setUserTimeout(c) // accepted sockets inherit it
	}}
	config.SetMultipathTCP(false) // its sockets do not take all options of TCP
	for _, address := range addresses {
		socket, err := config.Listen(ctx, "tcp", address)
		if err != nil {
			l.Close()
			failure := &PortError{Address: address, Taken: errors.Is(err, unix.EADDRINUSE), Err: dialCause(err)}
			if _, port, splitting := net.SplitHostPort(address); splitting == nil {
				if n, parsing := net.LookupPort("tcp", port); parsing == nil {
					failure.Port = uint16(n)
				}
			}
			return nil, failure
		}
		l.sockets = append(l.sockets, socket)
	}
	return l, nil
}

// Addrs returns where the sockets listen, in the order of Listen's arguments.
func (l *Listener) Addrs() []netip.AddrPort {
	addrs := make([]netip.AddrPort, 0, len(l.sockets))
	for _, s := range l.sockets {
		addrs = append(addrs, addrPort(s.Addr()))
	}
	return addrs
}

// Close closes the sockets; Serve then returns.
func (l *Listener) Close() {
	for _, s := range l.sockets {
		_ = s.Close()
	}
}

// Serve accepts until ctx ends or Close is called, and hands every session to handle and every stream that
// Config.AdmitStream wants to carry, which own them and may block: each connection has a goroutine of its own; carry
// may be nil where AdmitStream is. Serve returns when all of them have ended.
func (l *Listener) Serve(ctx context.Context, handle func(*Session), carry func(*Stream)) {
	stop := context.AfterFunc(ctx, l.Close)
	defer stop()
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for _, socket := range l.sockets {
		tasks.Go(func() { l.acceptAll(ctx, socket, &tasks, handle, carry) })
	}
}

// acceptPause is waited after an accept that failed, for lack of descriptors for example.
const acceptPause = 100 * time.Millisecond

func (l *Listener) acceptAll(ctx context.Context, socket net.Listener, tasks *sync.WaitGroup, handle func(*Session), carry func(*Stream)) {
	for {
		conn, err := socket.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			l.shaker.config.Logger.Warn("cannot accept control connections", zap.Error(err))
			select {
			case <-time.After(acceptPause):
			case <-ctx.Done():
			}
			continue
		}
		from := addrPort(conn.RemoteAddr()).Addr()
		pass, ok := l.gate.enter(time.Now(), from, func() { _ = conn.Close() })
		if !ok {
			_ = conn.Close()
			continue
		}
		tasks.Go(func() { l.serve(ctx, conn, pass, handle, carry) })
	}
}

func (l *Listener) serve(ctx context.Context, conn net.Conn, pass *pass, handle func(*Session), carry func(*Stream)) {
	agreed, err := l.shaker.respond(ctx, conn, func() { l.gate.knocked(pass) }, l.shaker.admitStream)
	if err != nil {
		l.gate.leave(time.Now(), pass, false)
		if ctx.Err() == nil && !errors.Is(err, ErrNoKnock) {
			l.shaker.config.Logger.Info("control connection failed",
				zap.Stringer("from", addrPort(conn.RemoteAddr())), zap.Error(err))
		}
		return
	}
	l.gate.leave(time.Now(), pass, true)
	if agreed.peer.Carry != nil {
		carry(agreed.stream())
		return
	}
	handle(agreed.session())
}

// Strangers lists who connected without our knock, the most eager first.
func (l *Listener) Strangers() []Stranger { return l.gate.strangers() }
