package l2bridge

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// applied is what an edge that does every step as told leaves behind.
func applied(status Status, ops []Op) Status {
	networks := map[uint32]NetworkStatus{}
	for _, n := range status.Networks {
		networks[n.VNI] = n
	}
	ports := map[string]PortStatus{}
	for _, p := range status.Ports {
		ports[p.Link] = p
	}
	for _, op := range ops {
		switch op := op.(type) {
		case AddBridge:
			n := networks[op.VNI]
			n.VNI, n.Bridge, n.MTU = op.VNI, true, op.MTU
			networks[op.VNI] = n
		case AddPair:
			n := networks[op.VNI]
			n.VNI, n.Pair, n.MTU = op.VNI, true, op.MTU
			networks[op.VNI] = n
		case SetNetwork:
			n := networks[op.VNI]
			n.MTU, n.Fault = op.MTU, ""
			networks[op.VNI] = n
		case BridgePort:
			p := ports[op.Link]
			p.Bridged = networks[op.VNI].Bridge
			ports[op.Link] = p
		case DelPort:
			delete(ports, op.Link)
		case DelNetwork:
			delete(networks, op.VNI)
		}
	}
	var after Status
	for _, n := range networks {
		after.Networks = append(after.Networks, n)
	}
	for _, p := range ports {
		after.Ports = append(after.Ports, p)
	}
	slices.SortFunc(after.Networks, func(a, b NetworkStatus) int { return int(a.VNI) - int(b.VNI) })
	slices.SortFunc(after.Ports, func(a, b PortStatus) int { return slices.Compare([]byte(a.Link), []byte(b.Link)) })
	return after
}

func TestDiffOfWhatWasAppliedIsEmpty(t *testing.T) {
	vni := rapid.Uint32Range(1, 6)
	rapid.Check(t, func(t *rapid.T) {
		var spec Spec
		for _, v := range rapid.SliceOfNDistinct(vni, 0, 5, rapid.ID).Draw(t, "spec") {
			spec.Networks = append(spec.Networks, NetworkSpec{VNI: v, MTU: rapid.IntRange(1280, 1290).Draw(t, "mtu")})
		}
		var status Status
		for _, v := range rapid.SliceOfNDistinct(vni, 0, 5, rapid.ID).Draw(t, "status") {
			n := NetworkStatus{VNI: v, Bridge: rapid.Bool().Draw(t, "bridge"), MTU: rapid.IntRange(1280, 1290).Draw(t, "is")}
			n.Pair = !n.Bridge || rapid.Bool().Draw(t, "pair")
			n.Fault = rapid.SampledFrom([]string{"", "down"}).Draw(t, "fault")
			status.Networks = append(status.Networks, n)
		}
		for _, id := range rapid.SliceOfNDistinct(rapid.StringN(1, 3, 3), 0, 5, rapid.ID).Draw(t, "ports") {
			status.Ports = append(status.Ports, PortStatus{
				ID: id, Link: PortName(id), VNI: vni.Draw(t, "vni"),
				Bridged: rapid.Bool().Draw(t, "bridged"), Unfinished: rapid.Bool().Draw(t, "unfinished"),
			})
		}
		ops := Diff(spec, status)
		after := applied(status, ops)
		if again := Diff(spec, after); len(again) > 0 {
			t.Fatalf("after %v there is still %v to do", ops, again)
		}
		if len(after.Networks) != len(spec.Networks) {
			t.Fatalf("%d networks, want %d", len(after.Networks), len(spec.Networks))
		}
		if removal := slices.IndexFunc(ops, removes); removal >= 0 && slices.ContainsFunc(ops[removal:], func(op Op) bool { return !removes(op) }) {
			t.Fatalf("an addition after a removal: %v", ops)
		}
		for _, n := range status.Networks { // what is right is left alone
			for _, want := range spec.Networks {
				right := want.VNI == n.VNI && want.MTU == n.MTU && n.Bridge && n.Pair && n.Fault == ""
				if right && slices.ContainsFunc(ops, func(op Op) bool { return touches(op, n.VNI) }) {
					t.Fatalf("network %d is right, and yet %v", n.VNI, ops)
				}
			}
		}
	})
}

func removes(op Op) bool {
	switch op.(type) {
	case DelPort, DelNetwork:
		return true
	}
	return false
}

func touches(op Op, vni uint32) bool {
	switch op := op.(type) {
	case AddBridge:
		return op.VNI == vni
	case AddPair:
		return op.VNI == vni
	case SetNetwork:
		return op.VNI == vni
	case DelNetwork:
		return op.VNI == vni
	}
	return false
}

func TestNames(t *testing.T) {
	for _, vni := range []uint32{0, 1, 0xabcdef, MaxVNI} {
		for kind, name := range map[string]string{"br": BridgeName(vni), "po": OverlayPortName(vni), "ca": CaptureName(vni)} {
			if k, v, ok := ParseName(name); !ok || k != kind || v != vni {
				t.Errorf("%s is read as %s %d %v", name, k, v, ok)
			}
		}
	}
	for _, name := range []string{"", "br-", "br-00000", "br-0000000", "xx-000000", "br-00000g", "br_000000", PortName("a")} {
		if _, _, ok := ParseName(name); ok {
			t.Errorf("%q was taken for one of ours", name)
		}
	}
	if a, b := PortName("a"), PortName("b"); a == b || len(a) > 15 || a != PortName("a") {
		t.Errorf("port names %s and %s", a, b)
	}
}
