package control

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Times of TCP. Pings notice a dead session sooner; these are for the case that nothing else does.
const (
	connectTimeout = 10 * time.Second // over all addresses of a name
	userTimeout    = 20 * time.Second // unacknowledged data ends a connection (tcp(7))
)

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// Dial makes a session with the node at target, "host:port". Names are resolved anew at every call, and the addresses
// of a name are tried as RFC 6555 says. Errors are *Error, and name the target.
func (h *Handshaker) Dial(ctx context.Context, target string) (*Session, error) {
	a, err := h.dial(ctx, target, nil)
	if err != nil {
		return nil, err
	}
	return a.session(), nil
}

// DialCarrier is Dial for a stream: the node at target is asked to take tunnels of the given binding over TCP. A node that
// does not want to, or is too old to know how, is an Error of kind Refused.
func (h *Handshaker) DialCarrier(ctx context.Context, target string, binding [BindingSize]byte) (*Stream, error) {
	a, err := h.dial(ctx, target, &binding)
	if err != nil {
		return nil, err
	}
	return a.stream(), nil
}

func (h *Handshaker) dial(ctx context.Context, target string, carry *[BindingSize]byte) (*agreed, error) {
	conn, err := h.connect(ctx, target)
	if err != nil {
		return nil, fail(Unreachable, "%s unreachable: %w", target, dialCause(err))
	}
	a, err := h.open(ctx, conn, carry)
	if err != nil {
		e := *asError(Silent, err)
		e.Reason = target + " " + e.Reason
		return nil, &e
	}
	return a, nil
}

// connect opens a TCP connection to target, or a proxy's tunnel.
func (h *Handshaker) connect(ctx context.Context, target string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	dial := net.Dialer{KeepAliveConfig: keepAlive, ControlContext: func(_ context.Context, _, _ string, c syscall.RawConn) error {
		return setUserTimeout(c)
	}}
	dial.SetMultipathTCP(false) // one path, whose options and end we know
	if h.config.Proxy == nil {
		return dial.DialContext(ctx, "tcp", target)
	}
	proxy, err := h.config.Proxy(target)
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return dial.DialContext(ctx, "tcp", target)
	}
	address, err := proxyAddress(proxy)
	if err != nil {
		return nil, err
	}
	conn, err := dial.DialContext(ctx, "tcp", address)
	if err == nil {
		conn, err = throughProxy(ctx, conn, proxy, target)
	}
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Redacted(), dialCause(err))
	}
	return conn, nil
}

// dialCause says in few words why a connection could not be made.
func dialCause(err error) error {
	if isTimeout(err) || errors.Is(err, context.DeadlineExceeded) {
		return errors.New("no answer to TCP")
	}
	if _, ok := errors.AsType[*net.OpError](err); !ok {
		return err
	}
	err = bareNet(err)
	if call, ok := errors.AsType[*os.SyscallError](err); ok {
		return call.Err
	}
	return err
}

// setUserTimeout makes the kernel give up on a peer that acknowledges nothing, well before its default of 15 minutes.
func setUserTimeout(c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
	return errors.Join(err, failed)
}
