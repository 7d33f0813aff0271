package wgmesh

import (
	"net/netip"
	"time"

	"github.com/weavewg/weavewg/topology"
)

// Settings is the part of the configuration that the core decides by.
type Settings struct {
	Mesh        string
	Name        string
	Software    string   // version of the program
	Key         [32]byte // Ed25519 identity, public
	Run         [8]byte
	Port        uint16 // TCP control; UDP slots are Port+0 … Port+2
	Advertise   []netip.Addr
	Targets     []string // peers of the YAML, "host:port"
	Networks    []NetworkSettings
	ForgetAfter time.Duration // 0: never
}

// NetworkSettings is one network of the YAML.
type NetworkSettings struct {
	topology.NetworkRef
	MTU int // 0: auto
}
