package l2bridge

import "slices"

// Op is one step towards a Spec. Each can be repeated without harm.
type Op interface{ op() }

// The steps, in the order in which Diff emits their kinds.
type (
	// AddBridge makes a network's bridge and brings it up.
	AddBridge struct{ NetworkSpec }
	// AddPair makes the overlay port and its capture end, puts the port into the bridge and brings both up.
	AddPair struct{ NetworkSpec }
	// SetNetwork repairs what exists: MTU, settings, link states, membership.
	SetNetwork struct{ NetworkSpec }
	// BridgePort puts a port's host end back into its bridge and brings it up.
	BridgePort struct {
		Link string
		VNI  uint32
	}
	// DelPort removes a port, both ends.
	DelPort struct{ Link string }
	// DelNetwork removes a network's pair and bridge.
	DelNetwork struct{ VNI uint32 }
)

func (AddBridge) op()  {}
func (AddPair) op()    {}
func (SetNetwork) op() {}
func (BridgePort) op() {}
func (DelPort) op()    {}
func (DelNetwork) op() {}

// Diff returns the steps from status to spec, additions before removals. What is right already is left alone; a port of
// a network that exists no longer goes with it. Diff of a status that the steps produced is empty.
func Diff(spec Spec, status Status) []Op {
	have := make(map[uint32]NetworkStatus, len(status.Networks))
	for _, n := range status.Networks {
		have[n.VNI] = n
	}
	var add, ports, remove []Op
	wanted := make(map[uint32]bool, len(spec.Networks))
	for _, want := range spec.Networks {
		wanted[want.VNI] = true
		is := have[want.VNI]
		if !is.Bridge {
			add = append(add, AddBridge{want})
		}
		if !is.Pair {
			add = append(add, AddPair{want})
		}
		// Making one part leaves the other as it was: look at that too.
		if partly := is.Bridge != is.Pair; partly || is.Bridge && is.Pair && (is.MTU != want.MTU || is.Fault != "") {
			add = append(add, SetNetwork{want})
		}
	}
	for _, p := range status.Ports {
		switch {
		case p.Unfinished || !wanted[p.VNI]:
			remove = append(remove, DelPort{p.Link})
		case !p.Bridged || !have[p.VNI].Bridge: // a new bridge has no ports
			ports = append(ports, BridgePort{Link: p.Link, VNI: p.VNI})
		}
	}
	for _, n := range status.Networks {
		if !wanted[n.VNI] {
			remove = append(remove, DelNetwork{n.VNI})
		}
	}
	return slices.Concat(add, ports, remove)
}
