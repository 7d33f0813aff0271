package vm

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
	"github.com/weavewg/weavewg/integration/vm/agent"
)

// process is a program that runs in a guest.
type process struct {
	guest *Guest
	pid   int
}

// callLimit bounds what the agent answers at once, in a guest that may be busy.
const callLimit = 30 * time.Second

func (p process) PID() int { return p.pid }

func (p process) Signal(sig syscall.Signal) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	_, err := p.guest.client.Call(ctx, agent.Request{Signal: &agent.Signal{PID: p.pid, Number: int(sig)}})
	if err != nil {
		return fmt.Errorf("%s: signal %s to %d: %w", p.guest.Name(), sig, p.pid, err)
	}
	return nil
}

func (p process) Wait(ctx context.Context) (lab.Result, error) {
	r, err := p.guest.client.Call(ctx, agent.Request{Wait: &agent.Ref{PID: p.pid}})
	if err != nil {
		return p.Output(), fmt.Errorf("%s: wait for %d: %w%s", p.guest.Name(), p.pid, err, p.guest.console.tail())
	}
	return result(r), nil
}

func (p process) Output() lab.Result {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	r, err := p.guest.client.Call(ctx, agent.Request{Output: &agent.Ref{PID: p.pid}})
	if err != nil {
		return lab.Result{Stderr: err.Error(), Exit: -1}
	}
	return result(r)
}

func result(r agent.Response) lab.Result {
	return lab.Result{Stdout: string(r.Stdout), Stderr: string(r.Stderr), Exit: r.Exit}
}
