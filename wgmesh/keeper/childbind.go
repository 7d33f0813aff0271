package keeper

import (
	"errors"
	"net/netip"
	"os"
	"runtime"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// childBind is wireguard-go's UDP sockets with one more habit: who receives lets all others work before it receives again.
// With one processor it would else fetch megabytes before the first of them is decrypted, and each further step would find
// its packets gone from the processor's cache. wireguard-go does not know these sockets as its own, and leaves it to them
// to answer from another address than a peer wrote to when the way to that peer changes; it does so for IPv4 only.
type childBind struct {
	conn.Bind
	routes *os.File                             // netlink: routes have changed
	way    func(*conn.StdNetEndpoint, int) bool // leads by the interface that the endpoint's packets came in by, given the mark

	mu    sync.RWMutex // held for writing to change an endpoint
	mark  int
	stale map[netip.Addr]bool // peers that were sent to; true: the way to them may have changed since
}

// manyPeers bounds what is known of peers. Who is forgotten is taken for one whose way did not change.
const manyPeers = 1 << 14

// newChildBind makes sockets in the calling process's network namespace.
func newChildBind() (*childBind, error) {
	routes, err := openNetlink(unix.RTMGRP_IPV4_ROUTE)
	if err != nil {
		return nil, err
	}
	b := &childBind{Bind: conn.NewDefaultBind(), routes: routes, way: sameWay, stale: map[netip.Addr]bool{}}
	go b.watch()
	return b, nil
}

// Open implements conn.Bind.
func (b *childBind) Open(port uint16) (fns []conn.ReceiveFunc, actual uint16, err error) {
	fns, actual, err = b.Bind.Open(port)
	for i, receive := range fns {
		fns[i] = func(packets [][]byte, sizes []int, endpoints []conn.Endpoint) (int, error) {
			runtime.Gosched()
			return receive(packets, sizes, endpoints)
		}
	}
	return fns, actual, err
}

// SetMark implements conn.Bind.
func (b *childBind) SetMark(mark uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark = int(mark)
	return b.Bind.SetMark(mark)
}

// Send implements conn.Bind.
func (b *childBind) Send(packets [][]byte, to conn.Endpoint) error {
	if e, ok := to.(*conn.StdNetEndpoint); ok && e.DstIP().Is4() {
		b.look(e)
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.Bind.Send(packets, to)
}

// look lets the kernel choose the source address again when the way to a peer has changed.
func (b *childBind) look(e *conn.StdNetEndpoint) {
	b.mu.RLock()
	stale, known := b.stale[e.DstIP()]
	b.mu.RUnlock()
	if known && !stale {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.stale) >= manyPeers {
		clear(b.stale)
	}
	b.stale[e.DstIP()] = false
	if stale && e.SrcIfidx() != 0 && !b.way(e, b.mark) {
		e.ClearSrc()
	}
}

// sameWay asks the kernel. A source address that it no longer has leads nowhere.
func sameWay(e *conn.StdNetEndpoint, mark int) bool {
	ways, err := netlink.RouteGetWithOptions(e.DstIP().AsSlice(), &netlink.RouteGetOptions{SrcAddr: e.SrcIP().AsSlice(), Mark: uint32(mark)})
	return err == nil && len(ways) > 0 && ways[0].LinkIndex == int(e.SrcIfidx())
}

// watch waits for news of routes until close.
func (b *childBind) watch() {
	buf := make([]byte, 1<<16)
	for {
		if _, err := b.routes.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) { // ENOBUFS: news were lost, so there were some
			return
		}
		b.mu.Lock()
		for peer := range b.stale {
			b.stale[peer] = true
		}
		b.mu.Unlock()
	}
}

// stop ends the watch.
func (b *childBind) stop() { b.routes.Close() }
