package capture

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	nshandle "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/l2bridge"
	"github.com/weavewg/weavewg/l2bridge/netns"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testMTU = 1400

// pair is a veth in a namespace of its own: what goes out of "po" comes in at "ca".
type pair struct {
	t     *testing.T
	ns    *os.File
	links *netlink.Handle
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			p.ns, err = netns.Own()
		}
		failed <- err
	}()
	if err := <-failed; err != nil {
		t.Fatalf("new network namespace (these tests need root): %v", err)
	}
	var err error
	p.links, err = netlink.NewHandleAt(nshandle.NsHandle(p.ns.Fd()), unix.NETLINK_ROUTE)
	ok(t, err)
	t.Cleanup(func() {
		p.links.Close()
		p.ns.Close()
	})
	ok(t, p.links.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "po", MTU: testMTU}, PeerName: "ca"}))
	for _, name := range []string{"po", "ca"} {
		p.inside(func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
		})
		ok(t, p.links.LinkSetUp(p.link(name)))
	}
	p.wait("po", "ca")
	return p
}

// wait waits until interfaces carry frames: before the kernel has noticed the carrier (net/core/link_watch.c) they
// throw away what is sent.
func (p *pair) wait(names ...string) {
	p.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.Now().Add(10 * time.Second)
	for _, name := range names {
		for ; p.link(name).Attrs().OperState != netlink.OperUp; <-tick.C {
			if time.Now().After(end) {
				p.t.Fatalf("%s does not come up", name)
			}
		}
		ok(p.t, p.links.LinkSetUp(p.link(name))) // waits for the lock under which the above is done
	}
}

func (p *pair) link(name string) netlink.Link {
	p.t.Helper()
	l, err := p.links.LinkByName(name)
	ok(p.t, err)
	return l
}

func (p *pair) inside(f func() error) {
	p.t.Helper()
	ok(p.t, netns.Do(p.ns, f))
}

// open opens a port by a backend.
func open[P Port](p *pair, backend func(string) (P, error), name string) Port {
	p.t.Helper()
	var port P
	p.inside(func() (err error) {
		port, err = backend(name)
		return err
	})
	p.t.Cleanup(func() { port.Close() })
	return port
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write injects one frame.
func write(t *testing.T, p Port, f l2bridge.Frame) {
	t.Helper()
	if failed, err := p.Write([]l2bridge.Scattered{{Parts: [][]byte{f.Data[:20], f.Data[20:]}, Offload: f.Offload}}); failed != 0 || err != nil {
		t.Fatalf("%d failed: %v", failed, err)
	}
}

// read returns copies of the next n frames.
func read(t *testing.T, p Port, n int) (out []l2bridge.Frame) {
	t.Helper()
	type result struct {
		n   int
		err error
	}
	frames := make([]l2bridge.Frame, MaxBatch)
	results := make(chan result, 1)
	for len(out) < n {
		go func() {
			got, err := p.Read(frames)
			results <- result{got, err}
		}()
		select {
		case r := <-results:
			ok(t, r.err)
			for _, f := range frames[:r.n] {
				f.Data = append([]byte(nil), f.Data...)
				out = append(out, f)
			}
		case <-time.After(5 * time.Second):
			p.Close()
			<-results
			t.Fatalf("%d frames instead of %d", len(out), n)
		}
	}
	if len(out) > n {
		t.Fatalf("%d frames instead of %d", len(out), n)
	}
	return out
}

// ended waits for the error of a Read.
func ended(t *testing.T, errs <-chan error) error {
	t.Helper()
	select {
	case err := <-errs:
		return err
	case <-time.After(5 * time.Second):
		t.Fatal("Read still waits")
		return errors.New("unreachable")
	}
}

func readOne(p Port) <-chan error {
	errs := make(chan error, 1)
	go func() {
		n, err := p.Read(make([]l2bridge.Frame, 1))
		if err == nil {
			err = fmt.Errorf("read %d frames", n)
		}
		errs <- err
	}()
	return errs
}
