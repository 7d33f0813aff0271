package datapath

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// bridgeFilters are the switches of br_netfilter, one set per network namespace since Linux 5.3, on by default.
var bridgeFilters = []string{"iptables", "ip6tables", "arptables"}

// keepNetfilterOut stops br_netfilter from looking into the frames of this thread's network namespace: it drops
// frames whose IP header it does not like, reassembles fragments and tracks connections, all of which a switch must
// not. Kernels and namespaces without it need nothing.
func keepNetfilterOut() error {
	for _, f := range bridgeFilters {
		path := "/proc/sys/net/bridge/bridge-nf-call-" + f
		err := os.WriteFile(path, []byte("0\n"), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("keep netfilter out of the bridges: %w", err)
		}
	}
	return nil
}
