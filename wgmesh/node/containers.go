package node

import "context"

// Container is what attaching needs to know of one.
type Container struct {
	ID   string
	Name string
	PID  int // of its first process; 0: it does not run
}

// Containers is a container engine. Inspect finds one by name or id; Watch signals that containers came or went, until
// ctx ends.
type Containers interface {
	Inspect(ctx context.Context, name string) (Container, error)
	Watch(ctx context.Context) <-chan struct{}
}
