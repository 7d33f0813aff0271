package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// cpuTime is the time that all processors have been busy since the machine started, interrupts included: what a packet
// costs is spent by kernel threads and by both ends, not by one process.
func cpuTime() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return busy(string(stat))
}

// tick is the unit of /proc/stat: USER_HZ, 100 a second on every Linux of ours (proc(5)).
const tick = 10 * time.Millisecond

// busy reads the line "cpu user nice system idle iowait irq softirq …".
func busy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, errors.New("/proc/stat begins with no cpu line")
	}
	var ticks uint64
	for i, field := range fields[1:8] {
		if i == 3 || i == 4 { // idle, iowait
			continue
		}
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}
