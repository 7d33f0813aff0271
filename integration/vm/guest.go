package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
	"github.com/weavewg/weavewg/integration/vm/agent"
)

// Modules are loaded before anything runs in the guest, which has no modprobe of its own.
var Modules = []string{
	"crc32c_generic", // libcrc32c asks for the algorithm by an alias
	"virtio_pci", "virtio_console", "virtio_rng", "9pnet_virtio", "9p", "overlay",
	"wireguard", "veth", "bridge", "br_netfilter", "tun", "vxlan", "8021q", "dummy", "ifb", "xfrm_user",
	"nf_tables", "nft_chain_nat", "nft_masq", "nft_ct", "nft_limit", "nft_numgen", "nft_reject_inet",
	"sch_netem", "sch_tbf", "sch_ingress", "cls_bpf", "cls_u32", "act_mirred",
}

// Guest is a running machine under emulation; it is a lab.Machine.
type Guest struct {
	qemu    *exec.Cmd
	client  *agent.Client
	console *console
	ended   chan struct{} // closed when QEMU has ended
	dir     string        // socket and initramfs
	stop    sync.Once
}

var _ lab.Machine = (*Guest)(nil)

// Boot starts the kernel with two processors and returns once the guest's agent answers. init is the program of
// integration/vm/init, built static. ctx bounds the boot.
func Boot(ctx context.Context, kernel *Kernel, init string) (*Guest, error) {
	modules, err := kernel.Closure(Modules...)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "weavewg-vm-")
	if err != nil {
		return nil, err
	}
	g := &Guest{console: &console{}, ended: make(chan struct{}), dir: dir}
	if err := g.boot(ctx, kernel, init, modules); err != nil {
		said := g.console.tail()
		return nil, errors.Join(fmt.Errorf("boot %s: %w%s", kernel.Release, err, said), g.Stop())
	}
	return g, nil
}

func (g *Guest) boot(ctx context.Context, kernel *Kernel, init string, modules []string) error {
	initramfs := filepath.Join(g.dir, "initramfs")
	file, err := os.Create(initramfs)
	if err != nil {
		return err
	}
	if err := errors.Join(writeInitramfs(file, init, modules), file.Close()); err != nil {
		return err
	}
	socket := filepath.Join(g.dir, "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer listener.Close()

	g.qemu = exec.Command("qemu-system-x86_64",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		// Stock kernels hang under the nested KVM of common CI machines; emulation works everywhere.
		"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1536",
		"-kernel", kernel.Image, "-initrd", initramfs,
		"-append", "console=ttyS0 loglevel=4 panic=-1 mitigations=off",
		"-serial", "stdio",
		"-device", "virtio-rng-pci",
		"-device", "virtio-serial-pci",
		"-chardev", "socket,id=agent,path="+socket,
		"-device", "virtserialport,chardev=agent,name="+agent.Port,
		"-fsdev", "local,id=host,path=/,readonly=on,security_model=none,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=host,mount_tag=host",
		// A fs device belongs to one mount: the second serves Copy, uncached.
		"-fsdev", "local,id=fresh,path=/,readonly=on,security_model=none,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=fresh,mount_tag=fresh",
	)
	g.qemu.Stdout, g.qemu.Stderr = g.console, g.console
	if err := g.qemu.Start(); err != nil {
		return fmt.Errorf("%w (Debian: qemu-system-x86)", err)
	}
	go func() { // ends with QEMU, which Stop ends
		defer close(g.ended)
		_ = g.qemu.Wait() // how it ended is on the console
		listener.Close()
	}()
	stopAccept := context.AfterFunc(ctx, func() { listener.Close() })
	defer stopAccept()
	connection, err := listener.Accept()
	if err != nil {
		return errors.Join(ctx.Err(), err)
	}
	g.client = agent.NewClient(connection)
	_, err = lab.Must(ctx, g, "true")
	return err
}

// Name is the kernel's word for what it is.
func (g *Guest) Name() string { return "vm" }

// Stop powers the guest off by force.
func (g *Guest) Stop() error {
	var err error
	g.stop.Do(func() {
		if g.client != nil {
			err = g.client.Close()
		}
		if g.qemu != nil && g.qemu.Process != nil {
			_ = g.qemu.Process.Kill() // it may have ended
			<-g.ended
		}
		err = errors.Join(err, os.RemoveAll(g.dir))
	})
	return err
}

// Copy copies a file of this machine into the guest, whose changes stay in the guest.
func (g *Guest) Copy(ctx context.Context, local, remote string) error {
	local, err := filepath.Abs(local)
	if err != nil {
		return err
	}
	_, err = g.client.Call(ctx, agent.Request{Copy: &agent.Copy{From: local, To: remote}})
	if err != nil {
		return fmt.Errorf("%s: copy to %s: %w", g.Name(), remote, err)
	}
	return nil
}

// Run runs a program to its end.
func (g *Guest) Run(ctx context.Context, argv ...string) (lab.Result, error) {
	p, err := g.Start(ctx, argv...)
	if err != nil {
		return lab.Result{}, err
	}
	result, err := p.Wait(ctx)
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	ref := agent.Ref{PID: p.PID()}
	if err != nil {
		_, killed := g.client.Call(after, agent.Request{Signal: &agent.Signal{PID: ref.PID, Number: 9}})
		err = errors.Join(err, killed)
	}
	_, forgot := g.client.Call(after, agent.Request{Forget: &ref})
	return result, errors.Join(err, forgot)
}

// Start starts a program and returns once it runs.
func (g *Guest) Start(ctx context.Context, argv ...string) (lab.Process, error) {
	r, err := g.client.Call(ctx, agent.Request{Start: &agent.Start{Argv: argv}})
	if err != nil {
		return nil, fmt.Errorf("%s: start %s: %w", g.Name(), strings.Join(argv, " "), err)
	}
	return process{guest: g, pid: r.PID}, nil
}

// console keeps the last of what the kernel and the guest's first process say, for error messages.
type console struct {
	mu   sync.Mutex
	data []byte
}

const consoleKeeps = 64 << 10

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.data = append(c.data, p...)
	if extra := len(c.data) - consoleKeeps; extra > 0 {
		c.data = bytes.Clone(c.data[extra:])
	}
	return len(p), nil
}

// tail is the end of the console for an error message, or "".
func (c *console) tail() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := strings.TrimSpace(string(c.data))
	if text == "" {
		return ""
	}
	return "\nconsole: " + text[max(0, len(text)-4<<10):]
}
