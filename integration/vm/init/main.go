package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/integration/vm/agent"
)

// The same program is process 1, which must reap every orphan, and the agent, which must wait for its own children
// undisturbed by that.
func main() {
	role, run := "agent", serve
	if os.Getpid() == 1 {
		role, run = "init", boot
	}
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "weavewg guest %s: %v\n", role, err)
	}
	if os.Getpid() == 1 {
		unix.Sync()
		_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF) // returns only on failure: then the kernel panics, and QEMU ends
	}
}

func boot() error {
	if err := os.Setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"); err != nil {
		return err
	}
	for _, m := range []mount{
		{"devtmpfs", "/dev", "devtmpfs", 0, ""},
		{"proc", "/proc", "proc", 0, ""},
		{"sysfs", "/sys", "sysfs", 0, ""},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	if err := loadModules("/modules"); err != nil {
		return err
	}
	if err := switchRoot(); err != nil {
		return err
	}
	child := exec.Command("/proc/self/exe")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "LANG=C.UTF-8"}
	if err := child.Start(); err != nil {
		return err
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		if pid == child.Process.Pid {
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for children: %w", err)
		}
	}
}

type mount struct {
	source, target, kind string
	flags                uintptr
	data                 string
}

func (m mount) do() error {
	if err := os.MkdirAll(m.target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.kind, m.target, err)
	}
	return nil
}

// loadModules inserts the modules that the file "order" lists, in that order.
func loadModules(dir string) error {
	order, err := os.Open(filepath.Join(dir, "order"))
	if err != nil {
		return err
	}
	defer order.Close()
	lines := bufio.NewScanner(order)
	for lines.Scan() {
		name := lines.Text()
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(file.Fd()), "", 0)
		file.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("module %s: %w", name, err)
		}
	}
	return lines.Err()
}

// switchRoot makes the host's files, with a layer of memory over them, the root. The host's paths hold in the guest,
// and nothing that the guest does reaches the host.
func switchRoot() error {
	const options = "trans=virtio,version=9p2000.L,msize=524288,access=any,"
	for _, m := range []mount{
		{"host", "/lower", "9p", unix.MS_RDONLY, options + "cache=loose"},
		{"layer", "/layer", "tmpfs", 0, "mode=0755"},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/layer/upper", "/layer/work"} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	for _, m := range []mount{
		{"root", "/root", "overlay", 0, "lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work"},
		{"fresh", "/root" + agent.HostRoot, "9p", unix.MS_RDONLY, options + "cache=none"},
		{"dev", "/root/dev", "devtmpfs", 0, ""},
		{"pts", "/root/dev/pts", "devpts", 0, ""},
		{"shm", "/root/dev/shm", "tmpfs", 0, ""},
		{"proc", "/root/proc", "proc", 0, ""},
		{"sys", "/root/sys", "sysfs", 0, ""},
		{"cgroup", "/root/sys/fs/cgroup", "cgroup2", 0, ""},
		{"bpf", "/root/sys/fs/bpf", "bpf", 0, ""},
		{"run", "/root/run", "tmpfs", 0, "mode=0755"},
		{"tmp", "/root/tmp", "tmpfs", 0, "mode=1777"},
	} {
		if err := m.do(); err != nil {
			return err
		}
	}
	if err := unix.Chroot("/root"); err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return exec.Command("ip", "link", "set", "lo", "up").Run()
}

// serve runs the agent on the serial port until the host closes it.
func serve() error {
	name, err := findPort(5 * time.Second)
	if err != nil {
		return err
	}
	port, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer port.Close()
	return agent.Serve(port)
}

// findPort waits for the port's device: virtio makes it after the module is loaded, by itself.
func findPort(patience time.Duration) (string, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); time.Now().Before(end); <-tick.C {
		names, err := filepath.Glob("/sys/class/virtio-ports/*/name")
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if text, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(text)) == agent.Port {
				return "/dev/" + filepath.Base(filepath.Dir(name)), nil
			}
		}
	}
	return "", fmt.Errorf("no virtio port named %s", agent.Port)
}
