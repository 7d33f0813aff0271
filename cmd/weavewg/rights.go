package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mustBeRoot returns an error that says why root is needed, unless this is root.
func mustBeRoot(why string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s: use sudo", errNotRoot, why)
}

// mustHaveRights returns an error unless this process may make interfaces and namespaces: root in a container often may
// not. It reads "WHAT needs root (…) WHY".
func mustHaveRights(what, why string) error {
	const needed = 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_RAW
	have, err := effectiveCapabilities()
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if have&needed != needed {
		return fmt.Errorf("%s %w (CAP_NET_ADMIN, CAP_SYS_ADMIN and CAP_NET_RAW) %s", what, errNotRoot, why)
	}
	return nil
}

// effectiveCapabilities reads the capabilities that count (proc(5), CapEff).
func effectiveCapabilities() (uint64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if hex, ok := strings.CutPrefix(line, "CapEff:"); ok {
			var caps uint64
			_, err := fmt.Sscanf(hex, "%x", &caps)
			return caps, err
		}
	}
	return 0, errors.New("/proc/self/status names no capabilities")
}
