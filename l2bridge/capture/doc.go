// Package capture reads and writes whole frames at the capture end of a network's overlay port, by a packet socket or
// (build tag pcap) libpcap, and records them as pcapng.
package capture
