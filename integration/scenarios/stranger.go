package scenarios

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// crowdSize is how many strangers come at once.
const crowdSize = 100

// stranger: whoever connects to the control port without the knock gets no byte, whatever is said, and is shut out
// soon; members come and go meanwhile.
func stranger(t *T, e *Env) {
	m := newMesh(t, e, 2)
	m.up()
	all := m.pluggedAll()
	all[0].reaches(v4(1))
	outside := e.Sites[2]
	address := e.Sites[0].Addr4.String() + ":6783"
	for _, kind := range []string{"silence", "garbage", "http", "tls"} {
		out, err := lab.Must(t.Context(), outside, e.Probe, "visit", address, kind)
		t.ok(err)
		var v struct {
			Bytes   int
			Elapsed time.Duration
			Closed  bool
		}
		t.ok(json.Unmarshal([]byte(out), &v))
		t.Logf("%s: %d bytes, closed %v after %v", kind, v.Bytes, v.Closed, v.Elapsed.Round(time.Millisecond))
		if v.Bytes != 0 || !v.Closed {
			t.Errorf("%s: %d bytes were answered, closed: %v", kind, v.Bytes, v.Closed)
		}
		t.atMost(kind+" until closed", v.Elapsed, 6*time.Second)
	}

	// A crowd of them, which says nothing, keeps no member out.
	crowd, err := outside.Start(t.Context(), "sh", "-c", "for i in $(seq "+strconv.Itoa(crowdSize)+"); do "+
		e.Probe+" visit "+address+" silence & done; wait")
	t.ok(err)
	b := m.nodes[1]
	t.ok(b.Kill(t.within(5 * time.Second)))
	start := time.Now()
	t.ok(b.Up(t.within(20 * time.Second)))
	m.linked()
	all[1].reaches(v4(0))
	t.atMost("a member returns through the crowd", time.Since(start), 4*time.Second)
	_, err = crowd.Wait(t.within(40 * time.Second))
	t.ok(err)
	t.says(m.nodes[0], 5*time.Second, "strangers: ")
	if s := said(t.Context(), m.nodes[0]); strings.Contains(s, "panic") {
		t.Errorf("the node panicked: %s", s)
	}
}
