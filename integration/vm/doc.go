// Package vm boots Debian's stock kernel under QEMU's software emulation, with this machine's root file system read-only
// below it, and is a lab.Machine: what this machine's kernel may lack (WireGuard, netem) is tested there.
package vm
