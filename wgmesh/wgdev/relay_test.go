package wgdev

import (
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// overrun is a netlink socket that lost news once.
type overrun struct{ reads int }

func (o *overrun) Read([]byte) (int, error) {
	o.reads++
	if o.reads == 1 {
		return 0, &os.PathError{Op: "read", Path: "netlink", Err: unix.ENOBUFS}
	}
	return 0, io.EOF
}

// Reliability.md F26: a view that was lost is a reason to look at everything, and no reason to stop.
func TestOverrunIsNews(t *testing.T) {
	dirty, socket := make(chan struct{}, 1), &overrun{}
	relay(socket, dirty)
	select {
	case <-dirty:
	default:
		t.Error("nobody is told")
	}
	if socket.reads != 2 {
		t.Errorf("%d reads: the watch ended at the overrun", socket.reads)
	}
}
