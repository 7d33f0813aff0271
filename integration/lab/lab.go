package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Lab owns hosts, switches, routers and the processes on them. Several labs may run at once, in one process or in
// several: nothing of a lab has a name outside it but its folder.
type Lab struct {
	name     string
	dir      string
	underlay *Space // holds the bridges of all switches

	mu       sync.Mutex
	hosts    []*Host
	switches []*Switch
	spaces   []*Space // containers
	wires    []*Wire
	serial   int // numbers interfaces and MAC addresses
	closed   bool
}

// markVar is set in the environment of every process that a lab starts, so that a later lab finds what an
// interrupted one left behind. It does not begin with WEAVEWG_: such variables are configuration.
const markVar = "LAB_OF_WEAVEWG"

// New makes an empty lab with a folder of its own below the system's folder for temporary files. It first removes
// what labs left behind whose process was killed.
func New() (*Lab, error) {
	if err := Sweep(); err != nil {
		return nil, err
	}
	start, err := startTime(os.Getpid())
	if err != nil {
		return nil, err
	}
	var salt [3]byte
	if _, err := rand.Read(salt[:]); err != nil {
		return nil, err
	}
	l := &Lab{name: fmt.Sprintf("%s%d-%d-%s", dirPrefix, os.Getpid(), start, hex.EncodeToString(salt[:]))}
	l.dir = filepath.Join(os.TempDir(), l.name)
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		return nil, err
	}
	if l.underlay, err = NewSpace("underlay"); err != nil {
		return nil, errors.Join(err, os.RemoveAll(l.dir))
	}
	return l, nil
}

// Dir is the lab's folder, removed by Close.
func (l *Lab) Dir() string { return l.dir }

// Underlay is the namespace in which the switches are: what is captured there is what an outsider on the cable sees.
func (l *Lab) Underlay() *Space { return l.underlay }

// Space makes a namespace that is plugged in nowhere yet, as a container's would be.
func (l *Lab) Space(name string) (*Space, error) {
	s, err := NewSpace(name)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spaces = append(l.spaces, s)
	return s, nil
}

// Close ends every process of the lab, also those that its daemons left behind on purpose, and removes everything the
// lab made. It may be called twice.
func (l *Lab) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	hosts, wires, spaces, switches := l.hosts, l.wires, l.spaces, l.switches
	l.mu.Unlock()

	var errs []error
	for _, h := range hosts {
		errs = append(errs, h.Stop())
	}
	inodes := make(map[uint64]bool)
	for _, s := range l.allSpaces(hosts, spaces) {
		if ino, err := s.Inode(); err == nil {
			inodes[ino] = true
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	errs = append(errs, killAll(ctx, func(p process) bool {
		return p.lab() == l.name || p.mentions(l.dir) || inodes[p.netns()]
	}))
	for _, w := range wires {
		errs = append(errs, w.Close())
	}
	for _, s := range switches {
		errs = append(errs, s.close())
	}
	for _, s := range l.allSpaces(hosts, spaces) {
		errs = append(errs, s.Close())
	}
	errs = append(errs, os.RemoveAll(l.dir))
	return errors.Join(errs...)
}

func (l *Lab) allSpaces(hosts []*Host, spaces []*Space) []*Space {
	all := append([]*Space{l.underlay}, spaces...)
	for _, h := range hosts {
		all = append(all, h.Space)
	}
	return all
}

// next numbers what needs a name inside the underlay.
func (l *Lab) next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.serial++
	return l.serial
}
