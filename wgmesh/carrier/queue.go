package carrier

import (
	"encoding/binary"
	"sync"
	"time"
)

// Limits of what waits for the stream.
const (
	queueBytes     = 256 << 10
	queueDatagrams = 4096
	queueTime      = 200 * time.Millisecond
)

// queue holds datagrams, framed, that wait for the stream. It allocates nothing. When it is full the newest are lost, and
// what has waited too long is lost when its turn comes.
type queue struct {
	wake chan struct{} // has a token when there may be something

	mu      sync.Mutex
	ring    [queueBytes]byte
	start   int // of the first frame in ring
	used    int // bytes
	waiting [queueDatagrams]waiting
	first   int // in waiting
	count   int
}

// waiting is one datagram in the ring.
type waiting struct {
	since time.Duration // on the clock of whoever calls
	size  int           // of the frame
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// put appends a datagram; false says that it was lost.
func (q *queue) put(now time.Duration, datagram []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := frameHeader + len(datagram)
	if q.count == queueDatagrams || q.used+size > queueBytes {
		return false
	}
	var header [frameHeader]byte
	binary.BigEndian.PutUint16(header[:], uint16(len(datagram)))
	at := (q.start + q.used) % queueBytes
	q.copyIn(at, header[:])
	q.copyIn((at+frameHeader)%queueBytes, datagram)
	q.used += size
	q.waiting[(q.first+q.count)%queueDatagrams] = waiting{now, size}
	q.count++
	return true
}

func (q *queue) copyIn(at int, b []byte) {
	n := copy(q.ring[at:], b)
	copy(q.ring[:], b[n:])
}

// signal wakes whoever takes.
func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take appends frames to out, whole ones, at least one if there is one, and no more than limit bytes of them otherwise. It
// says how many were too old.
func (q *queue) take(now time.Duration, out []byte, limit int) (frames []byte, lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for base := len(out); q.count > 0; {
		w := q.waiting[q.first]
		old := now-w.since > queueTime
		if !old && len(out) > base && len(out)-base+w.size > limit {
			break
		}
		end := q.start + w.size
		switch {
		case old:
			lost++
		case end <= queueBytes:
			out = append(out, q.ring[q.start:end]...)
		default:
			out = append(out, q.ring[q.start:]...)
			out = append(out, q.ring[:end-queueBytes]...)
		}
		q.start = end % queueBytes
		q.used -= w.size
		q.first = (q.first + 1) % queueDatagrams
		q.count--
	}
	return out, lost
}
