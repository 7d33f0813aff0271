package lab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// localProcess is a process on this machine.
type localProcess struct {
	cmd            *exec.Cmd
	stdout, stderr output
	done           chan struct{} // closed when it has ended
	exit           int           // valid once done is closed
}

// PID implements Process.
func (p *localProcess) PID() int { return p.cmd.Process.Pid }

// Signal implements Process.
func (p *localProcess) Signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Wait implements Process.
func (p *localProcess) Wait(ctx context.Context) (Result, error) {
	select {
	case <-p.done:
		return p.Output(), nil
	case <-ctx.Done():
		return p.Output(), ctx.Err()
	}
}

// Output implements Process.
func (p *localProcess) Output() Result {
	r := Result{Stdout: p.stdout.String(), Stderr: p.stderr.String(), Exit: -1}
	select {
	case <-p.done:
		r.Exit = p.exit
	default:
	}
	return r
}

// kill ends the process and those of its group: what it started in the foreground.
func (p *localProcess) kill() {
	select {
	case <-p.done:
	default: // not waited for yet, so the id is still its own
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL)
	}
}

func (p *localProcess) wait() {
	_ = p.cmd.Wait() // how it ended is read from ProcessState
	p.exit = p.cmd.ProcessState.ExitCode()
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		p.exit = 128 + int(ws.Signal())
	}
	close(p.done)
}

// output collects what a program writes, up to maxOutput bytes; the rest is cut off from the front.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const maxOutput = 8 << 20

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if over := o.buf.Len() + len(b) - maxOutput; over > 0 {
		o.buf.Next(over)
	}
	return o.buf.Write(b)
}

// String returns what was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
