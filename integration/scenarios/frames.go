package scenarios

import (
	"strconv"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// frames: random frames of every kind cross unchanged, each once: experimental EtherType, IEEE 802.3 length, VLAN,
// IPv4, IPv6, of 60 bytes to the MTU.
func frames(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	all[1].reaches(v4(0))
	from, to := all[0].devices()["ethwe"], all[1].devices()["ethwe"]
	mtu := strconv.Itoa(from.MTU)
	count := strconv.Itoa(t.count(1_000_000, 100_000))
	stream := []string{"ethwe", "-from", from.MAC, "-to", to.MAC, "-count", count, "-mtu", mtu, "-rate", "3000", "-seed", "11"}
	rx := all[1].start(true, append([]string{"frames", "receive"}, stream...)...)
	start := time.Now()
	tx := all[0].start(false, append([]string{"frames", "send"}, stream...)...)
	var sent uint64
	tx.answer(8*time.Minute, &sent)
	var r lab.FrameReport
	rx.answer(30*time.Second, &r)
	t.Logf("frames of up to %s bytes: %s, in %v", mtu, r, time.Since(start).Round(time.Millisecond))
	if !r.Perfect() {
		t.Errorf("%s", r)
	}
}
