package sim

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.zx2c4.com/wireguard/conn"
)

// memoryBind is a conn.Bind whose network is the bench.
type memoryBind struct {
	bench  *realBench
	end    int
	mu     sync.Mutex
	in     chan memoryDatagram
	closed chan struct{}
}

type memoryDatagram struct {
	from memoryEndpoint
	data []byte
}

// memoryEndpoint is an address on the bench.
type memoryEndpoint netip.AddrPort

func (memoryEndpoint) ClearSrc()             {}
func (memoryEndpoint) SrcToString() string   { return "" }
func (memoryEndpoint) SrcIP() netip.Addr     { return netip.Addr{} }
func (e memoryEndpoint) DstToString() string { return netip.AddrPort(e).String() }
func (e memoryEndpoint) DstIP() netip.Addr   { return netip.AddrPort(e).Addr() }
func (e memoryEndpoint) DstToBytes() []byte {
	b, _ := netip.AddrPort(e).MarshalBinary() // never fails
	return b
}

func (m *memoryBind) Open(uint16) ([]conn.ReceiveFunc, uint16, error) {
	in, closed := make(chan memoryDatagram, 1024), make(chan struct{})
	m.mu.Lock()
	m.in, m.closed = in, closed
	m.mu.Unlock()
	receive := func(packets [][]byte, sizes []int, eps []conn.Endpoint) (int, error) {
		select {
		case <-closed:
			return 0, net.ErrClosed
		case d := <-in:
			sizes[0], eps[0] = copy(packets[0], d.data), d.from
			return 1, nil
		}
	}
	return []conn.ReceiveFunc{receive}, outer[m.end].Port(), nil
}

func (m *memoryBind) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed != nil {
		close(m.closed)
		m.closed = nil
	}
	return nil
}

func (m *memoryBind) SetMark(uint32) error { return nil }
func (m *memoryBind) BatchSize() int       { return 1 }

func (m *memoryBind) ParseEndpoint(s string) (conn.Endpoint, error) {
	a, err := netip.ParseAddrPort(s)
	return memoryEndpoint(a), err
}

func (m *memoryBind) Send(packets [][]byte, ep conn.Endpoint) error {
	to, ok := ep.(memoryEndpoint)
	if !ok {
		return errors.New("not an endpoint of the bench")
	}
	b, far := m.bench, 1-m.end
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sends[m.end] += len(packets)
	if netip.AddrPort(to) != b.at[far] || b.deaf[far] {
		return nil
	}
	for _, p := range packets {
		d := memoryDatagram{memoryEndpoint(b.at[m.end]), append([]byte(nil), p...)}
		time.AfterFunc(oneWay, func() { b.binds[far].take(d) })
	}
	return nil
}

// take hands a datagram to the receiver, or loses it when the device is closed.
func (m *memoryBind) take(d memoryDatagram) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed == nil {
		return
	}
	select {
	case m.in <- d:
	default:
	}
}
