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

// configure takes over changed settings; identity, mesh and port stay those of the start.
func (c *Core) configure(s Settings) {
	s.Mesh, s.Key, s.Run, s.Port = c.settings.Mesh, c.settings.Key, c.settings.Run, c.settings.Port
	c.settings = s
	c.retarget()
	c.touch()
	c.stale = true
}
