package lab

import (
	"context"
	"slices"
)

// Inside is a machine inside a machine: programs are started with a prefix that takes them there, such as
// "nsenter --net=/run/netns/alpha". Files are those of the outer machine; Stop does nothing, as the outer machine
// ends what it started.
func Inside(outer Machine, name string, prefix ...string) Machine {
	return &inside{Machine: outer, name: name, prefix: prefix}
}

type inside struct {
	Machine
	name   string
	prefix []string
}

// Name implements Machine.
func (m *inside) Name() string { return m.name }

// Run implements Machine.
func (m *inside) Run(ctx context.Context, argv ...string) (Result, error) {
	return m.Machine.Run(ctx, slices.Concat(m.prefix, argv)...)
}

// Start implements Machine.
func (m *inside) Start(ctx context.Context, argv ...string) (Process, error) {
	return m.Machine.Start(ctx, slices.Concat(m.prefix, argv)...)
}

// Stop implements Machine.
func (m *inside) Stop() error { return nil }
