package metrics

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/weavewg/weavewg/services/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type mesh struct {
	status   api.Status
	counters api.Counters
}

func (m mesh) Status() api.Status     { return m.status }
func (m mesh) Counters() api.Counters { return m.counters }

// three has two peers of one name: a scrape must not fail for that.
func three(now time.Time) mesh {
	return mesh{
		api.Status{
			Mesh: "home", Ready: true, Node: api.Node{Name: "alpha", ID: "a1", Version: "1", UptimeS: 60, WireGuard: "userspace", Datapath: "pcap", ControlSessions: 2},
			Peers: []api.Peer{
				{
					Name: "beta", ID: "b1b1b1b100000000", State: "up", Path: api.Path{Kind: "direct", RTTms: 1.5, Loss: 0.25, MTU: 1420},
					WireGuard: api.WireGuard{PublicKey: "k", LastHandshake: now.Add(-30 * time.Second), RxBytes: 10, TxBytes: 20, KeyAgeS: 90},
				},
				{Name: "beta", ID: "c1c1c1c100000000", State: "connecting"},
			},
			Networks: []api.Network{{Name: "default", Ports: 2, MACCount: 3, MTU: 1280, Members: []string{"alpha", "beta"}}},
			Problems: []api.Problem{{Severity: "warn"}},
		},
		api.Counters{
			Frames: []api.FrameCounter{{Class: "unicast", Direction: "tx", Frames: 5, Bytes: 500}},
			Drops:  []api.DropCounter{{Reason: "runt", Frames: 7}}, Control: api.ByteCounter{RxBytes: 1, TxBytes: 2},
		},
	}
}

func TestSeries(t *testing.T) {
	now := time.Now()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&collector{source: three(now), now: func() time.Time { return now }})
	want := `
# HELP weavewg_control_bytes_total Bytes on control sessions.
# TYPE weavewg_control_bytes_total counter
weavewg_control_bytes_total{direction="rx"} 1
weavewg_control_bytes_total{direction="tx"} 2
# HELP weavewg_drops_total Frames and packets that went nowhere.
# TYPE weavewg_drops_total counter
weavewg_drops_total{reason="runt"} 7
# HELP weavewg_frame_bytes_total Bytes of frames through the datapath, Ethernet headers included.
# TYPE weavewg_frame_bytes_total counter
weavewg_frame_bytes_total{class="unicast",direction="tx"} 500
# HELP weavewg_links Links to peers by state.
# TYPE weavewg_links gauge
weavewg_links{state="connecting"} 1
weavewg_links{state="down"} 0
weavewg_links{state="up"} 1
# HELP weavewg_network_members Nodes that are members of a network, this one included.
# TYPE weavewg_network_members gauge
weavewg_network_members{network="default"} 2
# HELP weavewg_peer_bytes_total Bytes through the tunnel of a peer, since it was made.
# TYPE weavewg_peer_bytes_total counter
weavewg_peer_bytes_total{direction="rx",id="b1b1b1b1",peer="beta"} 10
weavewg_peer_bytes_total{direction="tx",id="b1b1b1b1",peer="beta"} 20
# HELP weavewg_peer_handshake_age_seconds Time since the last WireGuard handshake with a peer.
# TYPE weavewg_peer_handshake_age_seconds gauge
weavewg_peer_handshake_age_seconds{id="b1b1b1b1",peer="beta"} 30
# HELP weavewg_peer_rtt_seconds Round-trip time through the tunnel of a peer.
# TYPE weavewg_peer_rtt_seconds gauge
weavewg_peer_rtt_seconds{id="b1b1b1b1",peer="beta"} 0.0015
# HELP weavewg_peers Other nodes of the mesh that this node knows.
# TYPE weavewg_peers gauge
weavewg_peers 2
# HELP weavewg_problems Problems that status lists, by severity.
# TYPE weavewg_problems gauge
weavewg_problems{severity="error"} 0
weavewg_problems{severity="warn"} 1
`
	var names []string
	for line := range strings.Lines(want) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[1] == "TYPE" {
			names = append(names, fields[2])
		}
	}
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
	if faults, err := testutil.GatherAndLint(registry); err != nil || len(faults) > 0 {
		t.Errorf("names: %v, %v", faults, err)
	}
}

func TestManyPeers(t *testing.T) {
	m := mesh{}
	for i := range 2 * MaxPeers {
		m.status.Peers = append(m.status.Peers, api.Peer{Name: "n", ID: fmt.Sprintf("%08d", 2*MaxPeers-i), State: "up"})
	}
	if got := testutil.CollectAndCount(&collector{source: m, now: time.Now}, "weavewg_peer_loss_ratio"); got != MaxPeers {
		t.Errorf("%d series of peers", got)
	}
	if lowest(m.status.Peers)[0].ID != "00000001" {
		t.Error("not those with the lowest ids")
	}
}

func TestServe(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if _, err := Listen(address); err == nil || err.Error() != `api.metrics: `+address+`: bind: address already in use: set another address, or "" for none` {
		t.Errorf("taken: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, l, three(time.Now()), zap.NewNop()) }()
	client := &http.Client{}
	get := func(method, path string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(b)
	}
	status, body := get("GET", "/metrics")
	for _, want := range []string{`weavewg_info{datapath="pcap",id="a1",mesh="home",name="alpha",version="1",wireguard="userspace"} 1`, "weavewg_ready 1", "go_goroutines"} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("%d, no %s", status, want)
		}
	}
	if status, _ := get("GET", "/"); status != 404 {
		t.Errorf("/: %d", status)
	}
	if status, _ := get("POST", "/metrics"); status != 405 {
		t.Errorf("POST: %d", status)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestSeriesAreDocumented wants every series in docs/metrics.md.
func TestSeriesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{source: three(time.Now()), now: time.Now})
	families, err := registry.Gather()
	if err != nil || len(families) < 20 {
		t.Fatalf("%d series, %v", len(families), err)
	}
	for _, f := range families {
		if !strings.Contains(string(text), "`"+f.GetName()+"`") {
			t.Errorf("docs/metrics.md lacks %s", f.GetName())
		}
	}
}
