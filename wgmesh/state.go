package wgmesh

import (
	"time"

	"github.com/weavewg/weavewg/topology"
)

// State is what the core wants remembered across restarts.
type State struct {
	Epoch   uint64                      `json:"epoch"`   // Version.Epoch of this run
	Targets []string                    `json:"targets"` // added by connect
	Slots   []SlotMemory                `json:"slots"`
	Floors  map[string]topology.Version `json:"floors"`  // forgotten nodes, by id
	Records []topology.Sealed           `json:"records"` // the mesh as last known: a restart knows its links at once
}

// SlotMemory keeps the generation of a slot's key, so that an adopted key keeps its number.
type SlotMemory struct {
	Slot       Slot   `json:"slot"`
	PublicKey  string `json:"public_key"`
	Generation uint32 `json:"generation"`
}

// saveDelay is how long news of the mesh may stay unwritten: they are news again at the next start.
const saveDelay = 10 * time.Second

// firstSave is saveDelay for the first news of a run: a node that is killed soon after its start should know its links,
// too, and not wait for its peers to find it again.
const firstSave = 500 * time.Millisecond

// loadState takes up what the last run left. What does not open any more (another secret, say) is left out.
func (c *Core) loadState() {
	for id, floor := range c.state.Floors {
		if node, err := topology.ParseNodeID(id); err == nil {
			c.graph.Drop(node, floor)
		}
	}
	for _, sealed := range c.state.Records {
		if rec, err := c.notary.Open(sealed); err == nil && rec.ID() != c.self {
			c.graph.Merge(sealed, rec)
		}
	}
	c.stale = true
}

func (c *Core) saveSoon() {
	if !c.saveBy.IsZero() {
		return
	}
	delay := saveDelay
	if !c.saved {
		delay = firstSave
	}
	c.saveBy = c.now.Add(delay)
}

// tendState writes what has waited long enough, and once an hour drops who was absent for too long.
func (c *Core) tendState() {
	if c.now.Sub(c.savedAt) > time.Hour {
		c.savedAt = c.now
		c.expire()
	}
	if c.saveBy.IsZero() || c.now.Before(c.saveBy) {
		return
	}
	c.saveBy, c.saved = time.Time{}, true
	c.state.Records = nil
	for _, id := range c.graph.IDs() {
		if sealed, ok := c.graph.Sealed(id); ok && id != c.self {
			c.state.Records = append(c.state.Records, sealed)
		}
	}
	c.state.Floors = map[string]topology.Version{}
	for id, floor := range c.graph.Floors() {
		c.state.Floors[id.String()] = floor
	}
	c.do(Persist{c.state})
}
