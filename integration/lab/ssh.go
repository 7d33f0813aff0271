package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// SSHConfig says how to reach a machine over SSH.
type SSHConfig struct {
	Name string // of the machine
	Addr string // host:port
	User string
	Key  []byte // private key, PEM
	// HostKey is the machine's key; nil accepts any, which is right only for machines made for the test.
	HostKey ssh.PublicKey
	// Become is put before every program where the user is not root, such as "sudo -n".
	Become []string
	// Dial opens the connection; nil: from here.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
}

// SSH is a machine behind SSH. It implements Machine with nothing but a POSIX shell on the other side.
type SSH struct {
	config SSHConfig
	client *ssh.Client

	mu      sync.Mutex
	running map[*sshProcess]struct{}
	stopped bool
}

var _ Machine = (*SSH)(nil)

// DialSSH connects.
func DialSSH(ctx context.Context, c SSHConfig) (*SSH, error) {
	signer, err := ssh.ParsePrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: key: %w", c.Name, err)
	}
	hostKey := ssh.InsecureIgnoreHostKey()
	if c.HostKey != nil {
		hostKey = ssh.FixedHostKey(c.HostKey)
	}
	dial := c.Dial
	if dial == nil {
		dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
	}
	conn, err := dial(ctx, c.Addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	// The handshake knows no context; a deadline on the connection ends it.
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	sc, channels, requests, err := ssh.NewClientConn(conn, c.Addr, &ssh.ClientConfig{
		User: c.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: hostKey,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.Name, err), conn.Close())
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return &SSH{config: c, client: ssh.NewClient(sc, channels, requests), running: make(map[*sshProcess]struct{})}, nil
}

// Name implements Machine.
func (m *SSH) Name() string { return m.config.Name }

// Run implements Machine.
func (m *SSH) Run(ctx context.Context, argv ...string) (Result, error) {
	return m.run(ctx, nil, argv)
}

func (m *SSH) run(ctx context.Context, in io.Reader, argv []string) (Result, error) {
	p, err := m.start(ctx, in, argv)
	if err != nil {
		return Result{Exit: -1}, err
	}
	r, err := p.Wait(ctx)
	if err != nil {
		return r, errors.Join(fmt.Errorf("%s: %s: %w", m.config.Name, argv[0], err), p.Signal(unix.SIGKILL))
	}
	return r, nil
}

// Start implements Machine.
func (m *SSH) Start(ctx context.Context, argv ...string) (Process, error) {
	return m.start(ctx, nil, argv)
}

// Copy implements Machine. The file appears at once and whole: a program that runs from it may be replaced.
func (m *SSH) Copy(ctx context.Context, local, remote string) error {
	f, err := os.Open(local)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	script := `umask 077 && mkdir -p "$1" && cat >"$2.new" && chmod "$3" "$2.new" && mv -f "$2.new" "$2"`
	mode := strconv.FormatUint(uint64(st.Mode().Perm()), 8)
	r, err := m.run(ctx, f, []string{"sh", "-c", script, "copy", path.Dir(remote), remote, mode})
	if err == nil {
		err = r.OK()
	}
	if err != nil {
		return fmt.Errorf("%s: copy %s: %w", m.config.Name, remote, err)
	}
	return nil
}

// Stop implements Machine.
func (m *SSH) Stop() error {
	m.mu.Lock()
	if m.stopped {
		m.mu.Unlock()
		return nil
	}
	m.stopped = true
	var left []*sshProcess
	for p := range m.running {
		left = append(left, p)
	}
	m.mu.Unlock()
	var errs []error
	for _, p := range left {
		errs = append(errs, p.abandon())
	}
	errs = append(errs, m.client.Close())
	for _, p := range left {
		<-p.done // the connection is gone, so it ends
	}
	return errors.Join(errs...)
}

// wrapper tells the process id before it becomes the program: the protocol does not. A shell that is not a login shell
// may lack the folders of administration in PATH.
const wrapper = `PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin; export PATH; echo $$; exec "$@"`

func (m *SSH) start(ctx context.Context, in io.Reader, argv []string) (*sshProcess, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(argv) == 0 {
		return nil, fmt.Errorf("%s: no program given", m.config.Name)
	}
	session, err := m.client.NewSession()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.config.Name, err)
	}
	p := &sshProcess{machine: m, session: session, pidKnown: make(chan struct{}), done: make(chan struct{})}
	session.Stdin, session.Stdout, session.Stderr = in, &pidReader{p: p}, &p.stderr
	line := quote(append(append(append([]string(nil), m.config.Become...), "sh", "-c", wrapper, "weavewg-lab"), argv...))
	if err := session.Start(line); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %s: %w", m.config.Name, argv[0], err), session.Close())
	}
	m.mu.Lock()
	stopped := m.stopped
	if !stopped {
		m.running[p] = struct{}{} // Stop waits for it
	}
	m.mu.Unlock()
	go p.wait()
	if stopped {
		return nil, errors.Join(fmt.Errorf("%s is stopped", m.config.Name), p.abandon())
	}
	select {
	case <-p.pidKnown:
	case <-p.done:
		return nil, fmt.Errorf("%s: %s: %w", m.config.Name, argv[0], p.Output().OK())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), p.abandon())
	}
	return p, nil
}

// abandonTimeout is how long the id of a process that nobody wants any more is waited for.
const abandonTimeout = 5 * time.Second

// abandon ends a process that was asked to start, but has not told its id yet.
func (p *sshProcess) abandon() error {
	select {
	case <-p.pidKnown:
		return p.Signal(unix.SIGKILL)
	case <-p.done:
		return nil
	case <-time.After(abandonTimeout):
		return errors.Join(errors.New("the process does not tell its id"), p.session.Close())
	}
}

// sshProcess is a process behind SSH.
type sshProcess struct {
	machine        *SSH
	session        *ssh.Session
	stdout, stderr output
	pid            int           // valid once pidKnown is closed
	pidKnown       chan struct{} // closed when the first line came
	done           chan struct{}
	exit           int
}

// PID implements Process.
func (p *sshProcess) PID() int { return p.pid }

// Signal implements Process.
func (p *sshProcess) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	// Not the protocol's own request: sshd passes signals only to what its user may signal, not through sudo.
	session, err := p.machine.client.NewSession()
	if err != nil {
		return fmt.Errorf("%s: %w", p.machine.config.Name, err)
	}
	defer session.Close()
	out, err := session.CombinedOutput(quote(append(append([]string(nil), p.machine.config.Become...),
		"kill", "-"+strconv.Itoa(int(sig)), strconv.Itoa(p.pid))))
	if err != nil && !strings.Contains(string(out), "No such process") {
		return fmt.Errorf("%s: kill %d: %w: %s", p.machine.config.Name, p.pid, err, out)
	}
	return nil
}

// Wait implements Process.
func (p *sshProcess) Wait(ctx context.Context) (Result, error) {
	select {
	case <-p.done:
		return p.Output(), nil
	case <-ctx.Done():
		return p.Output(), ctx.Err()
	}
}

// Output implements Process.
func (p *sshProcess) Output() Result {
	r := Result{Stdout: p.stdout.String(), Stderr: p.stderr.String(), Exit: -1}
	select {
	case <-p.done:
		r.Exit = p.exit
	default:
	}
	return r
}

func (p *sshProcess) wait() {
	err := p.session.Wait()
	var exit *ssh.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.Signal() != "":
		p.exit = 128 + int(unix.SignalNum("SIG"+exit.Signal()))
	case errors.As(err, &exit):
		p.exit = exit.ExitStatus()
	default: // the connection broke
		p.exit = 255
		_, _ = p.stderr.Write([]byte(err.Error()))
	}
	close(p.done)
	p.machine.mu.Lock()
	delete(p.machine.running, p)
	p.machine.mu.Unlock()
}

// pidReader takes the wrapper's line off a program's output.
type pidReader struct {
	p    *sshProcess
	line []byte
	rest bool
}

// Write implements io.Writer.
func (r *pidReader) Write(b []byte) (int, error) {
	if r.rest {
		return r.p.stdout.Write(b)
	}
	r.line = append(r.line, b...)
	first, rest, ok := strings.Cut(string(r.line), "\n")
	if !ok {
		return len(b), nil
	}
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0, fmt.Errorf("%q is no process id", first)
	}
	r.rest, r.p.pid = true, pid
	_, _ = r.p.stdout.Write([]byte(rest))
	close(r.p.pidKnown)
	return len(b), nil
}

// quote makes one line of a command that a POSIX shell takes apart again.
func quote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, a := range argv {
		quoted[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}
