package wgdev_test

import (
	"net/netip"
	"sync"
	"time"
)

// stream sends an echo request every 2 ms until the returned function is called; that waits for the last answers and
// tells what was sent, what was lost, and the longest time without an answer.
func (h *host) stream(to netip.Addr) func() (sent, lost int, gap time.Duration) {
	h.t.Helper()
	e := h.echo(to)
	stop, sentAll := make(chan struct{}), make(chan struct{})
	var sent int
	const least = 100
	go func() {
		defer close(sentAll)
		var end chan struct{} // nil, so never ready, for the first packets
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				sent++
				_ = e.send(uint16(sent)) // what could not be sent was lost
			case <-end:
				return
			}
			if sent == least {
				end = stop
			}
		}
	}()
	answered := make(map[uint16]bool)
	var gap time.Duration
	var receiver sync.WaitGroup
	receiver.Go(func() {
		var end time.Time
		for last := time.Now(); end.IsZero() || time.Now().Before(end) && len(answered) < sent; {
			if seq, err := e.receive(time.Now().Add(20 * time.Millisecond)); err == nil {
				answered[seq] = true
				gap = max(gap, time.Since(last))
				last = time.Now()
			}
			select {
			case <-sentAll:
				if end.IsZero() {
					end = time.Now().Add(500 * time.Millisecond) // for what is under way
				}
			default:
			}
		}
	})
	return func() (int, int, time.Duration) {
		close(stop)
		receiver.Wait()
		return sent, sent - len(answered), gap
	}
}
