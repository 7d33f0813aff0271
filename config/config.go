package config

import (
	"net/netip"
	"time"
)

// DefaultPort is the TCP control port, and the first of the UDP ports, where nothing else is said.
const DefaultPort = 6783

// DefaultFile is where the configuration is looked for.
const DefaultFile = "/etc/weavewg/weavewg.yaml"

// DefaultRunDir is run_dir where nothing else is said.
const DefaultRunDir = "/run/weavewg"

// UDPPorts is how many UDP ports follow from listen.port: three slots of WireGuard and the relay.
const UDPPorts = 4

// Config is a valid configuration. It is made by Load or Parse and never changed afterwards.
type Config struct {
	Mesh        string
	Node        Node
	Listen      Listen
	Advertise   []netip.Addr
	Peers       []string // "host:port", complete
	Proxy       string   // URL of an HTTP CONNECT proxy; "": what HTTPS_PROXY and NO_PROXY say. It may hold a password: never show it
	SecretFile  string   // absolute
	WireGuard   string   // auto, kernel, userspace
	Datapath    string   // auto, kernel, pcap
	Relay       bool
	ForgetAfter time.Duration // 0: never
	Networks    []Network     // in the order of the file; the first is the default of commands
	StateDir    string        // absolute
	RunDir      string        // absolute
	API         API
	Log         Log

	// File is the main file that it was read from; "" for none.
	File string
	// Warnings are lines that a person should see; nothing is wrong enough to refuse.
	Warnings []string

	origins origins
	values  map[string]any // effective values by path, as Show prints and Diff compares them
}

// Node is this node.
type Node struct{ Name string }

// Listen is where this node is reached.
type Listen struct {
	Address netip.Addr // TCP control only; the zero Addr: all
	Port    uint16     // TCP control; UDP Port+0 … Port+3
	AlsoTCP []uint16
}

// Network is one isolated layer-2 segment.
type Network struct {
	Name    string
	VNI     uint32       // 24 bits, not 0
	Subnet  netip.Prefix // what ipam hands out
	Address netip.Prefix // this node's own address and mask; the zero Prefix: none
	MTU     int          // 0: auto
}

// API is how the daemon is asked.
type API struct {
	Metrics string // host:port; "": off
	Group   string // group of the socket; "": root only
}

// Log is what the daemon writes.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // auto, console, json
}

// Origin says where the value of a path such as listen.port, peers[0] or networks[1].mtu came from.
func (c *Config) Origin(path string) Origin { return c.origins.of(path) }

// PeerPlace says where the configuration names a peer ("host:port"), or "" if it does not.
func (c *Config) PeerPlace(target string) string {
	for i, p := range c.Peers {
		if p == target {
			return c.origins.of(indexed("peers", i)).String()
		}
	}
	return ""
}

// Network returns the network of a name; "" is the first.
func (c *Config) Network(name string) (Network, bool) {
	for _, n := range c.Networks {
		if name == "" || n.Name == name {
			return n, true
		}
	}
	return Network{}, false
}

// IdentityFile is where the node's identity is kept, mode 0600.
func (c *Config) IdentityFile() string { return c.StateDir + "/identity.key" }

// Socket is the path of the API socket in a run_dir.
func Socket(runDir string) string { return runDir + "/weavewg.sock" }
