package scout

import (
	"net/netip"
	"time"
)

// Memory is how long an answer to a request counts.
const Memory = 5 * time.Second

// Desk is where the scouts of a node's own ports come and go: it answers requests, and knows answers to what it asked.
// It is not safe for concurrent use. The zero one knows no key.
type Desk struct {
	listen map[[TagSize]byte]Key
	asked  map[uint64]question // by Tx
	swept  time.Time
}

type question struct {
	key Key
	at  time.Time
}

// Listen replaces the keys by which requests are answered.
func (d *Desk) Listen(keys []Key) {
	d.listen = make(map[[TagSize]byte]Key, len(keys))
	for _, k := range keys {
		d.listen[k.Tag] = k
	}
}

// Ask returns the datagram of a request, and remembers it.
func (d *Desk) Ask(now time.Time, key Key, m Message) []byte {
	if d.asked == nil {
		d.asked = map[uint64]question{}
	}
	if now.Sub(d.swept) > Memory {
		d.swept = now
		for tx, q := range d.asked {
			if now.Sub(q.at) > Memory {
				delete(d.asked, tx)
			}
		}
	}
	d.asked[m.Tx] = question{key, now}
	return Encode(key, m)
}

// Hear takes a datagram. A request by a key that is listened for has an answer, which goes back to where it came from; an
// answer has none. What is neither, is old, or is a request of our own that somebody sends back, is not ok.
func (d *Desk) Hear(now time.Time, from netip.AddrPort, datagram []byte) (answer []byte, m Message, ok bool) {
	tag, ok := Peek(datagram)
	if !ok {
		return nil, m, false
	}
	if key, listening := d.listen[tag]; listening {
		m, err := Decode(key, datagram)
		if err == nil && m.Kind == Request {
			if _, own := d.asked[m.Tx]; own {
				return nil, m, false
			}
			return Encode(key, m.Answered(from)), m, true
		}
	}
	tx := txOf(datagram)
	q, asked := d.asked[tx]
	if !asked || now.Sub(q.at) > Memory {
		return nil, m, false
	}
	m, err := Decode(q.key, datagram)
	return nil, m, err == nil && m.Kind == Answer
}
