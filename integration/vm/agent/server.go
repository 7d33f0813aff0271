package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// Serve answers requests until the stream ends; then it kills what it started and returns.
func Serve(stream io.ReadWriter) error {
	s := server{out: json.NewEncoder(stream), programs: map[int]*program{}}
	defer s.killAll()
	var running sync.WaitGroup
	in := json.NewDecoder(stream)
	for {
		var request Request
		if err := in.Decode(&request); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("agent: read request: %w", err)
		}
		running.Go(func() { s.reply(request.ID, s.answer(request)) })
	}
}

type server struct {
	sending sync.Mutex
	out     *json.Encoder

	mu       sync.Mutex // guards programs
	programs map[int]*program
}

type program struct {
	cmd            *exec.Cmd
	stdout, stderr buffer
	done           chan struct{} // closed when the program has ended and its output is complete
	exit           int           // valid after done
}

func (s *server) reply(id uint64, r Response) {
	r.ID = id
	s.sending.Lock()
	defer s.sending.Unlock()
	_ = s.out.Encode(r) // a broken stream ends the reader too
}

func (s *server) answer(r Request) Response {
	switch {
	case r.Start != nil:
		return s.start(*r.Start)
	case r.Signal != nil:
		return s.signal(*r.Signal)
	case r.Wait != nil:
		return s.wait(r.Wait.PID)
	case r.Output != nil:
		return s.output(r.Output.PID)
	case r.Forget != nil:
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.programs, r.Forget.PID)
		return Response{}
	case r.Copy != nil:
		return failed(copyFile(HostRoot+r.Copy.From, r.Copy.To))
	}
	return Response{Err: "agent: request without a task"}
}

func (s *server) start(r Start) Response {
	if len(r.Argv) == 0 {
		return Response{Err: "agent: start: no program named"}
	}
	p := &program{cmd: exec.Command(r.Argv[0], r.Argv[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.Dir = "/root"
	if err := p.cmd.Start(); err != nil {
		return failed(err)
	}
	pid := p.cmd.Process.Pid
	s.mu.Lock()
	s.programs[pid] = p
	s.mu.Unlock()
	go func() { // ends with the program, which Serve kills when it returns
		defer close(p.done)
		p.exit = exitCode(p.cmd.Wait(), p.cmd.ProcessState)
	}()
	return Response{PID: pid}
}

func (s *server) find(pid int) *program {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.programs[pid]
}

func (s *server) signal(r Signal) Response {
	p := s.find(r.PID)
	if p == nil {
		return unknown(r.PID)
	}
	if err := p.cmd.Process.Signal(syscall.Signal(r.Number)); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return failed(err)
	}
	return Response{}
}

func (s *server) wait(pid int) Response {
	p := s.find(pid)
	if p == nil {
		return unknown(pid)
	}
	<-p.done
	return s.output(pid)
}

func (s *server) output(pid int) Response {
	p := s.find(pid)
	if p == nil {
		return unknown(pid)
	}
	r := Response{PID: pid, Exit: -1}
	select {
	case <-p.done:
		r.Exit = p.exit
	default:
	}
	r.Stdout, r.Stderr = p.stdout.Bytes(), p.stderr.Bytes()
	return r
}

func (s *server) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.programs {
		_ = p.cmd.Process.Kill() // it may have ended
	}
}

func failed(err error) Response {
	if err == nil {
		return Response{}
	}
	return Response{Err: err.Error()}
}

func unknown(pid int) Response {
	return Response{Err: fmt.Sprintf("agent: no program %d was started here", pid)}
}

func exitCode(err error, state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	if err != nil && state.Success() {
		return 1 // its output could not be read to the end
	}
	return state.ExitCode()
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	// A running program's file cannot be written to, but it can be replaced.
	if err := os.Remove(to); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	// Each read is a request to the host: few large ones. Hiding the types keeps io from choosing its own small buffer.
	_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 1<<20))
	return err
}

// buffer is a bytes.Buffer that may be read while a program writes to it.
type buffer struct {
	mu   sync.Mutex
	data bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.data.Write(p)
}

// Bytes returns a copy of what was written so far.
func (b *buffer) Bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Clone(b.data.Bytes())
}
