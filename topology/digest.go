package topology

import "slices"

// Sizes of CBOR that the parts of a message take at most.
const (
	knownSize  = 56 // one Known
	sealedSize = 32 // one Sealed besides its three strings
	digestPart = (MaxMessage - 64) / knownSize
)

// Digest lists all records by version, in as many messages as it takes; the last one says so.
func (g *Graph) Digest() []Message {
	ids := g.IDs()
	var out []Message
	for {
		n := min(len(ids), digestPart)
		d := &Digest{Last: n == len(ids)}
		for _, id := range ids[:n] {
			k := g.nodes[id]
			d.Known = append(d.Known, Known{ID: id, Version: k.record.Version, Hash: k.hash})
		}
		out = append(out, Message{Digest: d})
		if ids = ids[n:]; len(ids) == 0 {
			return out
		}
	}
}

// Compare answers the digests that come over one session. The zero Compare is ready; a new session needs a new one.
type Compare struct {
	listed map[NodeID]bool
}

// Missing takes one part of a digest and returns what its sender lacks: records that are newer or of the same version and different here, floors
// of nodes that are forgotten here, and, after the last part, the records that the whole digest did not name. The caller merges
// nothing: the other side answers this side's digest in the same way.
func (c *Compare) Missing(g *Graph, d *Digest) []Message {
	if c.listed == nil {
		c.listed = map[NodeID]bool{}
	}
	var forgets []Message
	var send []NodeID
	for _, k := range d.Known {
		if len(c.listed) < 2*g.limit {
			c.listed[k.ID] = true
		}
		if floor, ok := g.floors[k.ID]; ok && !floor.Less(k.Version) {
			forgets = append(forgets, Message{Forget: &Forget{Node: k.ID, Floor: floor}})
		}
		mine, ok := g.nodes[k.ID]
		if ok && (k.Version.Less(mine.record.Version) || k.Version == mine.record.Version && k.Hash != mine.hash) {
			send = append(send, k.ID)
		}
	}
	if d.Last {
		for _, id := range g.IDs() {
			if !c.listed[id] {
				send = append(send, id)
			}
		}
		c.listed = nil
	}
	return append(forgets, g.Records(send)...)
}

// Records returns messages that carry the records of ids, each below MaxMessage; unknown ids are left out.
func (g *Graph) Records(ids []NodeID) []Message {
	var out []Message
	var batch []Sealed
	size := 0
	for _, id := range ids {
		s, ok := g.Sealed(id)
		if !ok {
			continue
		}
		n := len(s.Body) + len(s.Sig) + len(s.Proof) + sealedSize
		if size+n > MaxMessage-64 {
			out = append(out, Message{Records: slices.Clip(batch)})
			batch, size = nil, 0
		}
		batch, size = append(batch, s), size+n
	}
	if len(batch) > 0 {
		out = append(out, Message{Records: batch})
	}
	return out
}
