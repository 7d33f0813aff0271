package wgdev_test

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/weavewg/weavewg/l2bridge/netns"
	"github.com/weavewg/weavewg/wgmesh/wgdev"
)

func TestPortIsTakenBySomebodyWithAName(t *testing.T) {
	comm, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	me := fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(comm)), os.Getpid())
	must(t, netns.Do(namespace(t), func() error {
		for _, c := range []struct{ proto, network string }{{"udp", "udp4"}, {"udp", "udp6"}, {"tcp", "tcp4"}, {"tcp", "tcp6"}} {
			if err := wgdev.CheckPort(c.proto, 6783); err != nil {
				t.Errorf("%s, free: %v", c.network, err)
			}
			var held interface{ Close() error }
			if c.proto == "udp" {
				held, err = net.ListenPacket(c.network, ":6783")
			} else {
				held, err = net.Listen(c.network, ":6783")
			}
			if err != nil {
				return err
			}
			err := wgdev.CheckPort(c.proto, 6783)
			want := fmt.Sprintf("port 6783/%s is taken by %s: set listen.port", c.proto, me)
			if err == nil || err.Error() != want {
				t.Errorf("%s: got %v, want %s", c.network, err, want)
			}
			held.Close()
		}
		return nil
	}))
}
