// Package rawudp sends UDP datagrams from, and receives them at, ports that another socket of this host owns: those of
// WireGuard, in the kernel or in wireguard-go. It moves only datagrams that begin with an agreed magic, and does not look
// into them.
//
// Raw sockets see what netfilter let in, as WireGuard does, and what they send goes through its output chains and
// connection tracking. So a datagram of this package shares the fate of data. A packet socket would hear what the
// firewall drops: a peer that answers such a question and cannot be reached (tailscale/tailscale#13140).
package rawudp
