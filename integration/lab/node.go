package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// NodeSpec says what a weavewg node on a machine should be.
type NodeSpec struct {
	Mesh   string   // "": lab
	Peers  []string // first contacts
	Secret string   // text of the secret file
	Port   uint16   // 0: the default
	Dir    string   // folder on the machine for configuration, secret, state and sockets
	Binary string   // the program, on the machine
	// Env is added to the environment of the daemon and of commands: NAME=value.
	Env []string
	// More is YAML that is added to the configuration as it is.
	More string
}

// Node is a weavewg node on a machine: its files, its daemon, its command line.
type Node struct {
	Machine
	Spec NodeSpec

	daemon Process // started by Up; nil before
}

// NewNode writes configuration and secret. Nothing is started yet.
func NewNode(ctx context.Context, m Machine, spec NodeSpec) (*Node, error) {
	if spec.Mesh == "" {
		spec.Mesh = "lab"
	}
	n := &Node{Machine: m, Spec: spec}
	if err := n.WriteFile(ctx, n.path("secret"), spec.Secret+"\n", 0o600); err != nil {
		return nil, err
	}
	if err := n.WriteConfig(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

// ConfigPath is the configuration file on the machine.
func (n *Node) ConfigPath() string { return n.path("weavewg.yaml") }

// RunDir and StateDir are the node's own folders on the machine.
func (n *Node) RunDir() string { return n.path("run") }

// StateDir is where the node keeps what outlives it.
func (n *Node) StateDir() string { return n.path("state") }

func (n *Node) path(name string) string { return path.Join(n.Spec.Dir, name) }

// WriteConfig writes the configuration that Spec describes, for a first start or before a reload.
func (n *Node) WriteConfig(ctx context.Context) error {
	var b strings.Builder
	fmt.Fprintf(&b, "mesh: %s\nnode: {name: %s}\nsecret_file: %s\nstate_dir: %s\nrun_dir: %s\n",
		n.Spec.Mesh, n.Name(), n.path("secret"), n.StateDir(), n.RunDir())
	if n.Spec.Port != 0 {
		fmt.Fprintf(&b, "listen: {port: %d}\n", n.Spec.Port)
	}
	if len(n.Spec.Peers) > 0 {
		peers, err := json.Marshal(n.Spec.Peers) // JSON lists are YAML
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "peers: %s\n", peers)
	}
	b.WriteString(n.Spec.More)
	return n.WriteFile(ctx, n.ConfigPath(), b.String(), 0o644)
}

// WriteFile writes a small file on the machine.
func (n *Node) WriteFile(ctx context.Context, remote, text string, mode os.FileMode) error {
	f, err := os.CreateTemp("", "weavewg-lab-file-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return n.Copy(ctx, f.Name(), remote)
}

// Up starts the daemon in the foreground and waits until its datapath is built.
func (n *Node) Up(ctx context.Context) error {
	if err := n.Launch(ctx); err != nil {
		return err
	}
	return n.WaitFor(ctx, "ready")
}

// Launch starts the daemon in the foreground and waits for nothing.
func (n *Node) Launch(ctx context.Context) error {
	p, err := n.Start(ctx, n.argv([]string{"up"})...)
	if err == nil {
		n.daemon = p
	}
	return err
}

// UpDetached runs "up -d", which returns when the datapath stands.
func (n *Node) UpDetached(ctx context.Context) error {
	_, err := n.Must(ctx, "up", "-d")
	return err
}

// Daemon is the process that Up started, nil if none was.
func (n *Node) Daemon() Process { return n.daemon }

// Kill ends the daemon that Up started, as a crash would, and waits until it is gone. Its data plane stays.
func (n *Node) Kill(ctx context.Context) error { return n.end(ctx, syscall.SIGKILL) }

// Terminate asks the daemon that Up started to end.
func (n *Node) Terminate(ctx context.Context) error { return n.end(ctx, syscall.SIGTERM) }

func (n *Node) end(ctx context.Context, sig syscall.Signal) error {
	if n.daemon == nil {
		return fmt.Errorf("%s: no daemon was started", n.Name())
	}
	if err := n.daemon.Signal(sig); err != nil {
		return err
	}
	_, err := n.daemon.Wait(ctx)
	return err
}

// Command runs a command of the node's own command line: verb and arguments, without -c.
func (n *Node) Command(ctx context.Context, argv ...string) (Result, error) {
	return n.Run(ctx, n.argv(argv)...)
}

// Must runs a command that has to succeed and returns its output.
func (n *Node) Must(ctx context.Context, argv ...string) (string, error) {
	return Must(ctx, n.Machine, n.argv(argv)...)
}

// argv puts -c behind the verb, before what "--" may begin.
func (n *Node) argv(argv []string) []string {
	var all []string
	if len(n.Spec.Env) > 0 {
		all = append([]string{"env"}, n.Spec.Env...)
	}
	all = append(all, n.Spec.Binary, argv[0], "-c", n.ConfigPath())
	return append(all, argv[1:]...)
}

// JSON runs a command with --json and decodes its answer.
func (n *Node) JSON(ctx context.Context, into any, argv ...string) error {
	out, err := n.Must(ctx, append(argv, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("%s: %s: %w", n.Name(), strings.Join(argv, " "), err)
	}
	return nil
}

// WaitFor waits for "ready" or "peer=NAME". A daemon that has ended meanwhile is an error that quotes it.
func (n *Node) WaitFor(ctx context.Context, what string) error {
	return Until(ctx, func(ctx context.Context) error {
		if n.daemon != nil {
			if r := n.daemon.Output(); r.Exit >= 0 {
				return Final(fmt.Errorf("%s: the daemon ended: %w", n.Name(), r.OK()))
			}
		}
		_, err := n.Must(ctx, "wait", "--for", what, "--timeout", "1s")
		return err
	})
}

// Report is what helps to understand a failure: tables and log.
func (n *Node) Report(ctx context.Context) string {
	var b strings.Builder
	fmt.Fprintf(&b, "=== %s\n", n.Name())
	for _, verb := range []string{"status", "peers", "macs", "ps"} {
		if r, err := n.Command(ctx, verb); err == nil {
			fmt.Fprintf(&b, "--- %s\n%s%s", verb, r.Stdout, r.Stderr)
		}
	}
	if n.daemon != nil {
		r := n.daemon.Output()
		fmt.Fprintf(&b, "--- log, exit %d\n%s%s", r.Exit, tail(r.Stdout), tail(r.Stderr))
	}
	return b.String()
}

// tail keeps the last 8 KiB.
func tail(s string) string { return s[max(0, len(s)-8<<10):] }

// Until calls try until it succeeds, fails with a Final error, or the context ends; the error is then try's last one.
func Until(ctx context.Context, try func(context.Context) error) error {
	for {
		err := try(ctx)
		var final finalError
		if err == nil || errors.As(err, &final) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Final marks an error that no further try can mend.
func Final(err error) error { return finalError{err} }

type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }
