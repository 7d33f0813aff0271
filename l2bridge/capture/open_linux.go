//go:build !pcap

package capture

// Backend names what Open uses.
const Backend = "afpacket"

// Open opens the capture end ifname in the network namespace of the calling thread.
func Open(ifname string) (Port, error) { return OpenAFPacket(ifname) }
