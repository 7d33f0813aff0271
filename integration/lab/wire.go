package lab

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Direction is one of the two ways through a Wire.
type Direction int

// The directions, as the host sees them.
const (
	Out Direction = iota // from the host
	In                   // to the host
)

// Wire is a cable in user space: a TAP device at each end and a queue ordered by time in each direction. It delays,
// loses, reorders and duplicates where the kernel has no netem. It moves some 100,000 frames a second, and frames
// on it are never larger than the MTU: it has no segmentation offload.
type Wire struct {
	taps  [2]*os.File // host's, switch's
	ways  [2]*way
	tasks sync.WaitGroup
}

// layWire makes the link's cable a Wire.
func (k *Link) layWire(l *Lab, spec WireSpec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	host, err := openTAP(k.Host.Space, k.Interface)
	if err != nil {
		return err
	}
	port, err := openTAP(l.underlay, k.Port)
	if err != nil {
		return errors.Join(err, host.Close())
	}
	dev, err := k.Host.Netlink().LinkByName(k.Interface)
	if err == nil {
		err = k.Host.Netlink().LinkSetHardwareAddr(dev, k.MAC)
	}
	if err != nil {
		return errors.Join(err, host.Close(), port.Close())
	}
	k.Wire = newWire(host, port, spec)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wires = append(l.wires, k.Wire)
	return nil
}

func newWire(host, port *os.File, spec WireSpec) *Wire {
	w := &Wire{taps: [2]*os.File{host, port}}
	for d := range w.ways {
		w.ways[d] = newWay(w.taps[1-d], spec, uint64(d))
		w.tasks.Add(2)
		go func() { defer w.tasks.Done(); w.ways[d].read(w.taps[d]) }()
		go func() { defer w.tasks.Done(); w.ways[d].deliver() }()
	}
	return w
}

// Set changes what the wire does in one direction. Frames that are on their way arrive as they would have.
func (w *Wire) Set(d Direction, spec WireSpec) error {
	if err := spec.Validate(); err != nil {
		return err
	}
	way := w.ways[d]
	way.mu.Lock()
	defer way.mu.Unlock()
	way.lane.spec = spec
	return nil
}

// SetBoth changes what the wire does in both directions.
func (w *Wire) SetBoth(spec WireSpec) error {
	return errors.Join(w.Set(Out, spec), w.Set(In, spec))
}

// Seed makes the wire's choices those of a seed, from the next frame on.
func (w *Wire) Seed(seed uint64) {
	for d, way := range w.ways {
		way.mu.Lock()
		way.lane.rnd = rand.New(rand.NewPCG(seed, uint64(d)))
		way.mu.Unlock()
	}
}

// Close removes the wire and both interfaces.
func (w *Wire) Close() error {
	err := errors.Join(w.taps[0].Close(), w.taps[1].Close())
	for _, way := range w.ways {
		way.stop()
	}
	w.tasks.Wait()
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// way is one direction of a wire: frames on their way, by arrival time.
type way struct {
	to    *os.File
	mu    sync.Mutex
	lane  lane
	queue arrivalQueue
	seq   uint64
	ended bool
	wake  chan struct{} // holds a token when the queue's head may have changed
}

func newWay(to *os.File, spec WireSpec, seed uint64) *way {
	return &way{to: to, lane: lane{spec: spec, rnd: rand.New(rand.NewPCG(1, seed))}, wake: make(chan struct{}, 1)}
}

// read takes frames off a TAP until it is closed.
func (w *way) read(from *os.File) {
	defer w.stop()
	buf := make([]byte, 65536)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		w.push(time.Now(), buf[:n])
	}
}

func (w *way) push(now time.Time, frame []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	times := w.lane.arrivals(now, len(frame))
	if len(times) == 0 {
		return
	}
	kept := append([]byte(nil), frame...)
	for _, at := range times {
		w.seq++
		heap.Push(&w.queue, arrival{at: at, seq: w.seq, frame: kept})
	}
	w.signal()
}

// deliver writes frames when their time has come, until the way is stopped.
func (w *way) deliver() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		frame, wait, ok := w.pop(time.Now())
		switch {
		case !ok:
			return
		case frame != nil:
			// A device that is down or full loses the frame, as a cable would.
			_, _ = w.to.Write(frame)
		default:
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-w.wake:
			}
		}
	}
}

// pop returns the next frame that is due, or how long to wait for it.
func (w *way) pop(now time.Time) (frame []byte, wait time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.ended:
		return nil, 0, false
	case len(w.queue) == 0:
		return nil, time.Hour, true
	}
	if wait := w.queue[0].at.Sub(now); wait > 0 {
		return nil, wait, true
	}
	return heap.Pop(&w.queue).(arrival).frame, 0, true
}

func (w *way) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.signal()
}

func (w *way) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// arrival is one frame on its way; seq keeps frames of the same time in order.
type arrival struct {
	at    time.Time
	seq   uint64
	frame []byte
}

// arrivalQueue implements heap.Interface.
type arrivalQueue []arrival

func (q arrivalQueue) Len() int { return len(q) }
func (q arrivalQueue) Less(i, j int) bool {
	if c := q[i].at.Compare(q[j].at); c != 0 {
		return c < 0
	}
	return q[i].seq < q[j].seq
}
func (q arrivalQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *arrivalQueue) Push(x any)   { *q = append(*q, x.(arrival)) }
func (q *arrivalQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = arrival{}
	*q = old[:len(old)-1]
	return last
}

// openTAP makes a TAP device in a namespace. It goes when the file is closed.
func openTAP(s *Space, name string) (*os.File, error) {
	var file *os.File
	err := s.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("/dev/net/tun: %w", err)
		}
		ifr, err := unix.NewIfreq(name)
		if err == nil {
			ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("TAP %s: %w", name, err), unix.Close(fd))
		}
		// Only now: the runtime's poller takes a TUN descriptor once it is attached to a device.
		file = os.NewFile(uintptr(fd), "/dev/net/tun")
		return nil
	})
	if err != nil {
		return nil, err
	}
	// A frame that waits in the queue of a busy reader is not lost.
	dev, err := s.Netlink().LinkByName(name)
	if err == nil {
		err = s.Netlink().LinkSetTxQLen(dev, 5000)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
