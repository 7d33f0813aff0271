// Package forwarder is a relay's two UDP sockets: it asks relay.Table where each datagram goes and moves them in batches,
// with the kernel's UDP offloads, a TTL less by one, and the address that its other end knows as the source.
package forwarder
