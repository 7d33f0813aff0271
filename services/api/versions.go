package api

import (
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// versions lists what this process is made of.
func versions(program string) Versions {
	v := Versions{Weavewg: program, Go: runtime.Version(), Modules: map[string]string{}}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		v.Kernel = unix.ByteSliceToString(u.Release[:]) + " " + unix.ByteSliceToString(u.Machine[:])
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			v.Modules[m.Path] = m.Version
		}
	}
	return v
}
