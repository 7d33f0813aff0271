package wgmesh

import (
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/weavewg/weavewg/topology"
)

// rotation is the renewal of this node's keys: every slot that has a key retires, its tunnels move to slots with fresh keys
// by the tunnel step, and a slot that is empty goes. It is over when none retires any more.
type rotation struct {
	begun time.Time // zero: none runs
	ended time.Time // of the last one
	next  time.Time // when the next one begins by itself
}

// rotate begins a rotation; while one runs it does nothing.
func (c *Core) rotate() {
	if !c.rotation.begun.IsZero() || !c.seenDevice {
		return
	}
	c.rotation.begun = c.now
	for s := range c.slots {
		if c.slots[s].exists() {
			c.slots[s].retiring = true
		}
	}
	for _, l := range c.links {
		l.nextDirect, l.directTries = c.now, 0
	}
	c.unsettled = true
	c.note(Info, "rotation", c.self, "fresh keys: tunnels move to them one by one")
	c.relink = true
}

// tendRotation begins what is due, and notices the end.
func (c *Core) tendRotation() {
	r := &c.rotation
	if every := c.settings.RotateEvery; every > 0 {
		if r.next.IsZero() {
			r.next = c.now.Add(every - every/8 + time.Duration(c.rng.Int64N(int64(every/4)+1)))
		}
		if !c.now.Before(r.next) {
			r.next = time.Time{}
			c.rotate()
		}
	}
	if r.begun.IsZero() || c.retires() {
		return
	}
	r.begun, r.ended = time.Time{}, c.now
	c.note(Info, "rotation", c.self, "all tunnels are on fresh keys")
}

func (c *Core) retires() bool {
	for s := range c.slots {
		if c.slots[s].exists() && c.slots[s].retiring {
			return true
		}
	}
	return false
}

// PathMemory keeps by which relays an adopted tunnel goes, which WireGuard does not tell.
type PathMemory struct {
	Peer topology.NodeID `json:"peer"`
	Key  string          `json:"key"` // the peer's, of the tunnel
	Path topology.Path   `json:"path"`
}

// pathMemory is the path of a tunnel from before the restart.
func (c *Core) pathMemory(peer topology.NodeID, key wgtypes.Key) topology.Path {
	for _, m := range c.state.Paths {
		if m.Peer == peer && m.Key == key.String() && m.Path.Kind == topology.PathRelay && len(m.Path.Via) > 0 {
			return m.Path
		}
	}
	return topology.Path{Kind: topology.PathDirect}
}

// rememberPaths keeps the paths by relays that are in use.
func (c *Core) rememberPaths() {
	c.state.Paths = nil
	for _, l := range c.byPeer() {
		for _, t := range l.tunnels {
			if t.path.Kind == topology.PathRelay && t.onDevice {
				c.state.Paths = append(c.state.Paths, PathMemory{Peer: l.peer, Key: t.key.String(), Path: t.path})
			}
		}
	}
}
