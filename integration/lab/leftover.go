package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// dirPrefix begins the names of the folders of labs; the process id and start time of their owner follow.
const dirPrefix = "weavewg-lab-"

// Sweep removes what labs left behind whose process was killed before it could close them: their processes and
// folders. Namespaces go with the processes in them.
func Sweep() error {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), dirPrefix+"*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		name := filepath.Base(dir)
		if ownerLives(name) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		errs = append(errs, killAll(ctx, func(p process) bool {
			return p.lab() == name || p.mentions(dir)
		}), os.RemoveAll(dir))
		cancel()
	}
	return errors.Join(errs...)
}

// ownerLives says whether the process that made the folder still runs; a reused process id has another start time.
func ownerLives(name string) bool {
	parts := strings.Split(strings.TrimPrefix(name, dirPrefix), "-")
	if len(parts) != 3 {
		return true // not one of ours: leave it alone
	}
	pid, err := strconv.Atoi(parts[0])
	if err != nil {
		return true
	}
	start, err := startTime(pid)
	return err == nil && strconv.FormatUint(start, 10) == parts[1]
}

// process is a process id to be looked at through /proc.
type process int

func (p process) file(name string) []byte {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", int(p), name))
	if err != nil {
		return nil // it has ended
	}
	return b
}

// lab returns the name of the lab that started the process or an ancestor of it, "" if none did.
func (p process) lab() string {
	for v := range bytes.SplitSeq(p.file("environ"), []byte{0}) {
		if value, ok := bytes.CutPrefix(v, []byte(markVar+"=")); ok {
			return string(value)
		}
	}
	return ""
}

// mentions says whether an argument of the process lies in the folder.
func (p process) mentions(dir string) bool {
	return bytes.Contains(p.file("cmdline"), []byte(dir))
}

// netns returns the inode of the process's network namespace, 0 if it has ended.
func (p process) netns() uint64 {
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/net", int(p)), &st); err != nil {
		return 0
	}
	return st.Ino
}

// ended says whether the process is gone, or waits for its parent as a zombie.
func (p process) ended() bool {
	fields := statFields(p.file("stat"))
	return len(fields) == 0 || fields[0] == "Z" || fields[0] == "X"
}

// eachProcess calls f for every process of this machine.
func eachProcess(f func(process) error) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if err := f(process(pid)); err != nil {
			return err
		}
	}
	return nil
}

// killAll kills the processes that mine picks, this one excepted, until none is left.
func killAll(ctx context.Context, mine func(process) bool) error {
	for {
		left := 0
		err := eachProcess(func(p process) error {
			if int(p) == os.Getpid() || p.ended() || !mine(p) {
				return nil
			}
			left++
			if err := unix.Kill(int(p), unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d: %w", int(p), err)
			}
			return nil
		})
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes survive SIGKILL", left)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// startTime returns when a process started, in clock ticks after boot (proc(5), field 22 of stat).
func startTime(pid int) (uint64, error) {
	fields := statFields(process(pid).file("stat"))
	if len(fields) < 20 {
		return 0, fmt.Errorf("process %d is gone", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// statFields returns the fields of /proc/PID/stat from the third on, the state: the second is a name in brackets that
// may hold anything.
func statFields(stat []byte) []string {
	_, rest, ok := bytes.Cut(stat, []byte(") "))
	if i := bytes.LastIndex(stat, []byte(") ")); ok && i >= 0 {
		rest = stat[i+2:]
	}
	return strings.Fields(string(rest))
}
