// Package wgdev observes and changes the WireGuard side of the overlay namespace for wgmesh: devices of the kernel or of
// user space, tunnels, the overlay address and its routes, and the rules that guard what comes out of the tunnels.
package wgdev
