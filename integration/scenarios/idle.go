package scenarios

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// idle: a mesh in which nothing happens costs next to nothing.
func idle(t *T, e *Env) {
	const hosts = 10
	m := newMesh(t, e, hosts)
	m.up()
	cpu := func(pid int) time.Duration { return cpuTime(t, pid) }
	family := make(map[string][]int) // node: daemon first, then keeper and WireGuard processes
	for _, n := range m.nodes {
		keeper := m.keeper(n)
		pids := []int{n.Daemon().PID(), keeper}
		for _, p := range m.processes(n, " wireguard ") {
			if p.Parent == keeper {
				pids = append(pids, p.PID)
			}
		}
		family[n.Name()] = pids
	}
	settle, window := 10*time.Second, 20*time.Second
	pause(t, settle)
	before := make(map[int]time.Duration)
	for _, pids := range family {
		for _, pid := range pids {
			before[pid] = cpu(pid)
		}
	}
	start := time.Now()
	pause(t, window)
	elapsed := time.Since(start)
	for _, n := range m.nodes {
		pids := family[n.Name()]
		daemon := float64(cpu(pids[0])-before[pids[0]]) / float64(elapsed) * 100
		var rest float64
		restRSS := 0
		for _, pid := range pids[1:] {
			rest += float64(cpu(pid)-before[pid]) / float64(elapsed) * 100
			restRSS += rss(t, pid)
		}
		memory := rss(t, pids[0])
		t.Logf("%s: daemon %.2f %% of a core, %.1f MiB; keeper and %d WireGuard processes %.2f %%, %.1f MiB",
			n.Name(), daemon, float64(memory)/1024, len(pids)-2, rest, float64(restRSS)/1024)
		if daemon >= 1 {
			t.Errorf("%s: the idle daemon uses %.2f %% of a core", n.Name(), daemon)
		}
		if memory >= 40<<10 {
			t.Errorf("%s: the idle daemon holds %d KiB", n.Name(), memory)
		}
	}
}

// pause lets time pass, for a measurement over time.
func pause(t *T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// cpuTime is what a process has used (proc(5): utime and stime, in ticks of 10 ms).
func cpuTime(t *T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	t.ok(err)
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	t.ok(err)
	system, err := strconv.Atoi(fields[12])
	t.ok(err)
	return time.Duration(user+system) * 10 * time.Millisecond
}

// rss is the resident memory of a process, in KiB.
func rss(t *T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	t.ok(err)
	for line := range strings.Lines(string(status)) {
		if s, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, err := strconv.Atoi(strings.Fields(s)[0])
			t.ok(err)
			return kib
		}
	}
	t.Fatalf("process %d shows no VmRSS", pid)
	return 0
}
