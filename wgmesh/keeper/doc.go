// Package keeper is the process that outlives the daemon: it holds the overlay's network namespace and the TUN
// descriptors, and runs one wireguard-go child per slot where the kernel has no WireGuard; a client in the daemon asks it.
package keeper
