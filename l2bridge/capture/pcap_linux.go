//go:build pcap

package capture

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/gopacket/gopacket/pcap"

	"github.com/weavewg/weavewg/l2bridge"
)

// Backend names what Open uses.
const Backend = "libpcap"

// Open opens the capture end ifname in the network namespace of the calling thread.
func Open(ifname string) (Port, error) { return OpenPcap(ifname) }

// Pcap is a Port on libpcap. It knows no vnet headers, so the bridge port must not leave work to hardware.
type Pcap struct {
	name   string
	handle *pcap.Handle
	buffer []byte // of the frame that is being written

	mu     sync.RWMutex // the handle's memory is gone after Close, and libpcap does not look
	closed atomic.Bool
}

// OpenPcap opens the interface in the network namespace of the calling thread, inbound only.
func OpenPcap(ifname string) (*Pcap, error) {
	fail := func(err error) (*Pcap, error) { return nil, fmt.Errorf("capture on %s by libpcap: %w", ifname, err) }
	in, err := pcap.NewInactiveHandle(ifname)
	if err != nil {
		return fail(err)
	}
	defer in.CleanUp()
	err = errors.Join(in.SetSnapLen(65535), in.SetPromisc(true), in.SetTimeout(pcap.BlockForever),
		in.SetImmediateMode(true), in.SetBufferSize(queueBytes))
	if err != nil {
		return fail(err)
	}
	h, err := in.Activate()
	if err != nil {
		return fail(err)
	}
	if err := h.SetDirection(pcap.DirectionIn); err != nil {
		h.Close()
		return fail(err)
	}
	return &Pcap{name: ifname, handle: h}, nil
}

// Read waits for one frame: libpcap's memory holds it until the next call.
func (p *Pcap) Read(frames []l2bridge.Frame) (int, error) {
	for {
		data, info, err := p.handle.ZeroCopyReadPacketData()
		switch {
		case errors.Is(err, pcap.NextErrorTimeoutExpired):
			continue
		case p.closed.Load() || errors.Is(err, io.EOF):
			return 0, fmt.Errorf("capture on %s: %w", p.name, os.ErrClosed)
		case err != nil:
			return 0, fmt.Errorf("capture on %s: %w: %w", p.name, err, p.handle.Error())
		case info.CaptureLength < info.Length: // longer than any MTU here allows
			continue
		}
		frames[0] = l2bridge.Frame{Data: data}
		return 1, nil
	}
}

// Write injects frames one by one.
func (p *Pcap) Write(frames []l2bridge.Scattered) (failed int, err error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed.Load() {
		return len(frames), fmt.Errorf("capture on %s: %w", p.name, os.ErrClosed)
	}
	for i := range frames {
		p.buffer = p.buffer[:0]
		for _, part := range frames[i].Parts {
			p.buffer = append(p.buffer, part...)
		}
		if e := p.handle.WritePacketData(p.buffer); e != nil {
			if failed++; err == nil {
				err = fmt.Errorf("capture on %s: frame of %d bytes not injected: %w", p.name, len(p.buffer), e)
			}
		}
	}
	return failed, err
}

// Offloads is false.
func (p *Pcap) Offloads() bool { return false }

// Lost returns what libpcap counts.
func (p *Pcap) Lost() Lost {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed.Load() {
		return Lost{}
	}
	s, err := p.handle.Stats()
	if err != nil {
		return Lost{}
	}
	return Lost{Overflow: uint64(s.PacketsDropped)}
}

// Close ends a Read that waits.
func (p *Pcap) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed.Swap(true) {
		p.handle.Close()
	}
	return nil
}
