package capture

import (
	"fmt"

	"github.com/safchain/ethtool"
)

// kept are the transmit features that an overlay port may offer: what a vnet header can express on every kernel.
var kept = map[string]bool{
	"tx-checksum-ip-generic":     true,
	"tx-scatter-gather":          true,
	"tx-tcp-segmentation":        true,
	"tx-tcp-ecn-segmentation":    true,
	"tx-tcp6-segmentation":       true,
	"tx-generic-segmentation":    true, // segmentation in software, before the port, of all the others
	"tx-vlan-hw-insert":          true,
	"tx-vlan-stag-hw-insert":     true,
	"tx-scatter-gather-fraglist": true,
}

// Prepare makes the interface ifname, a bridge port whose other end is captured, offer only those transmit features
// that survive the capture. A veth promises everything (UDP, SCTP and tunnel segmentation), and a packet socket drops
// what virtio_net_hdr cannot express. With offloads false (a capture without vnet headers) it offers none, and the
// kernel sends frames as they would be on a wire. It works in the network namespace of the calling thread.
func Prepare(ifname string, offloads bool) error {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("features of %s: ethtool: %w", ifname, err)
	}
	defer e.Close()
	features, err := e.FeaturesWithState(ifname)
	if err != nil {
		return fmt.Errorf("features of %s: %w", ifname, err)
	}
	change := map[string]bool{}
	for name, state := range features {
		if !state.Active || state.NeverChanged || !transmits(name) {
			continue
		}
		if !kept[name] || !offloads && name != "tx-vlan-hw-insert" && name != "tx-vlan-stag-hw-insert" {
			change[name] = false
		}
	}
	if len(change) == 0 {
		return nil
	}
	if err := e.Change(ifname, change); err != nil {
		return fmt.Errorf("features of %s: switch off %d transmit offloads: %w", ifname, len(change), err)
	}
	return nil
}

func transmits(feature string) bool { return len(feature) > 3 && feature[:3] == "tx-" }
