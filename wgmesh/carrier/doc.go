// Package carrier carries the UDP datagrams of a tunnel in a stream, where UDP does not pass: between a socket on loopback,
// which WireGuard or a relay takes for its peer, and the TLS connection of package topology/control. A datagram is its
// length, 2 bytes big endian, and its bytes; a length of zero says that the stream lives.
//
// What is inside retransmits on its own and has to see loss: what the stream cannot take at once is thrown away, never
// kept for seconds.
package carrier
