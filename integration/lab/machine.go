package lab

import (
	"context"
	"fmt"
	"strings"
	"syscall"
)

// Machine is one host that scenarios act on, whatever it is made of: a network namespace of this machine (Host), a
// host behind SSH (SSH), a QEMU guest (integration/vm). All methods may be called from several goroutines.
type Machine interface {
	// Name is the host's name, for messages and as its node name.
	Name() string
	// Run runs a program to its end. A program that ran and failed is a Result with its exit code and no error; an error
	// says that it could not be run, or that ctx ended first, in which case it was killed.
	Run(ctx context.Context, argv ...string) (Result, error)
	// Start starts a program and returns once it runs. It lives until it ends, is signalled, or the machine is stopped;
	// ctx bounds only the start.
	Start(ctx context.Context, argv ...string) (Process, error)
	// Copy puts a local file at an absolute path of the machine, with its mode, making the folders above it.
	Copy(ctx context.Context, local, remote string) error
	// Stop ends what Start started and still runs, and gives the machine back. It may be called twice.
	Stop() error
}

// Process is a program that Machine.Start started.
type Process interface {
	// PID is the process's id as the machine itself counts.
	PID() int
	// Signal sends a signal to the program alone (not to its children). It is no error if the program has ended.
	Signal(sig syscall.Signal) error
	// Wait waits until the program has ended or ctx is done. It may be called several times.
	Wait(ctx context.Context) (Result, error)
	// Output is what the program has written so far.
	Output() Result
}

// Result is what a program wrote and how it ended. Exit is 128 plus the signal's number when a signal ended it, as
// shells have it, and -1 while it runs.
type Result struct {
	Stdout, Stderr string
	Exit           int
}

// OK returns nil when the program ended with 0, else an error that quotes what it said.
func (r Result) OK() error {
	if r.Exit == 0 {
		return nil
	}
	said := strings.TrimSpace(r.Stderr)
	if said == "" {
		said = strings.TrimSpace(r.Stdout)
	}
	return fmt.Errorf("exit %d: %s", r.Exit, said)
}

// Must runs a program that has to succeed and returns what it wrote to its standard output.
func Must(ctx context.Context, m Machine, argv ...string) (string, error) {
	r, err := m.Run(ctx, argv...)
	if err == nil {
		err = r.OK()
	}
	if err != nil {
		return r.Stdout, fmt.Errorf("%s: %s: %w", m.Name(), strings.Join(argv, " "), err)
	}
	return r.Stdout, nil
}
