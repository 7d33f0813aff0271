package wgmesh

import "slices"

// The cores compare what they want with what they wanted at every change of a link; reflect.DeepEqual took a tenth of
// the time of a large mesh.

func (s DeviceSpec) equal(o DeviceSpec) bool {
	return s.Address == o.Address && slices.Equal(s.Routes, o.Routes) && slices.EqualFunc(s.Slots, o.Slots, SlotSpec.equal)
}

func (s SlotSpec) equal(o SlotSpec) bool {
	return s.Slot == o.Slot && s.PrivateKey == o.PrivateKey && s.Port == o.Port && s.MTU == o.MTU &&
		slices.EqualFunc(s.Peers, o.Peers, PeerSpec.equal)
}

func (p PeerSpec) equal(o PeerSpec) bool {
	return p.Key == o.Key && p.PSK == o.PSK && p.Endpoint == o.Endpoint && p.Move == o.Move && slices.Equal(p.Allowed, o.Allowed)
}

func (s Snapshot) equal(o Snapshot) bool {
	return s.Self == o.Self && s.Address == o.Address && slices.EqualFunc(s.Networks, o.Networks, Network.equal) &&
		slices.Equal(s.Probe, o.Probe)
}

func (n Network) equal(o Network) bool {
	return n.Name == o.Name && n.VNI == o.VNI && n.MTU == o.MTU && slices.Equal(n.Members, o.Members)
}
