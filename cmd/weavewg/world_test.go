package main

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/weavewg/weavewg/services/api"
)

// standIn is a daemon as the commands see it: a Backend with fixed answers, served on a real socket.
type standIn struct {
	status   api.Status
	attached []api.AttachRequest
	detached []api.DetachRequest
	exposed  []api.ExposeRequest
	asked    []string // connect and forget
	refuse   error    // of attach
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	idAlpha  = "a1a1a1a1000000000000000000000000"
	idBeta   = "b1b1b1b1000000000000000000000001"
	idGamma1 = "c1c1c1c1000000000000000000000002"
	idGamma2 = "c1c1c2c2000000000000000000000003"
)

func newStandIn() *standIn {
	return &standIn{status: api.Status{
		Schema: api.StatusSchema, Mesh: "home", Ready: true,
		Node: api.Node{
			Name: "alpha", ID: idAlpha, Version: "0.1.0", UptimeS: 192, Overlay: netip.MustParseAddr("fd12::1"),
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, NAT: "none",
			WireGuard: "userspace", WireGuardReason: "the kernel has none", Datapath: "pcap", ControlSessions: 1, PID: 1,
		},
		Peers: []api.Peer{
			{
				Name: "beta", ID: idBeta, State: "up", Control: "up",
				Path:      api.Path{Kind: "direct", Endpoint: "192.0.2.2:6783", RTTms: 0.71, Loss: 0.02, MTU: 1350},
				WireGuard: api.WireGuard{LastHandshake: noon.Add(-75 * time.Second), RxBytes: 12_345_678, TxBytes: 999},
			},
			{Name: "gamma", ID: idGamma1, State: "down", Control: "down", Reason: "not reachable directly, and no common peer relays"},
			{
				Name: "gamma", ID: idGamma2, State: "up", Control: "up",
				Path: api.Path{Kind: "relay", Via: []api.Via{{Name: "beta", ID: idBeta}}, RTTms: 132, Reason: "UDP 6783 is blocked"},
			},
		},
		Targets: []api.Target{
			{Address: "beta.example:6783", Source: "config", Place: "/etc/weavewg/weavewg.yaml:9", State: "connected"},
			{Address: "192.0.2.9:6783", Source: "connect", State: "waiting", NextS: 4, Reason: "connection refused"},
		},
		Networks: []api.Network{{Name: "default", VNI: 7, Subnet: "10.32.0.0/12", MTU: 1280, Ports: 1, Members: []string{"alpha", "beta"}, MACCount: 2}},
		Problems: []api.Problem{{Code: "strangers", Severity: "warn", Message: "strangers: 14 connections from 198.51.100.9 without our knock", Hint: "somebody else's mesh"}},
	}}
}

func (l *standIn) Status() api.Status     { return l.status }
func (l *standIn) Counters() api.Counters { return api.Counters{Schema: api.CountersSchema} }
func (l *standIn) Config() string         { return "mesh: home\n" }

func (l *standIn) MACs(network string) (api.MACs, error) {
	if network != "" && network != "default" {
		return api.MACs{}, api.Errorf(api.CodeNotFound, "no network %q here: there are default", network)
	}
	return api.MACs{Schema: api.MACsSchema, MACs: []api.MAC{
		{Network: "default", MAC: "02:00:00:00:00:01", IPs: []netip.Addr{netip.MustParseAddr("10.32.1.1")}, Peer: "alpha", Local: true, Carried: "bridge", AgeS: 3},
		{Network: "default", MAC: "02:00:00:00:00:02", Peer: "beta", Carried: "vxlan-pcap", AgeS: 70, Moves: 1},
	}}, nil
}

func (l *standIn) Ports() api.Ports {
	return api.Ports{Schema: api.PortsSchema, Ports: []api.Port{
		{Network: "default", Kind: "container", Target: "4f2a9d01c3b7aabbccdd", Container: "web", Interface: "ethwe", MAC: "02:00:00:00:00:01", Addresses: []string{"10.32.1.1/12", "fd00::1/64"}, State: "up"},
		{Network: "default", Kind: "netns", Target: "/run/netns/x", Interface: "ethwe", MAC: "02:00:00:00:00:03", State: "waiting", Reason: "no such file"},
		{Network: "default", Kind: "host", Interface: "weavewg0", MAC: "02:00:00:00:00:04", Addresses: []string{"10.32.0.1/12"}, State: "up"},
	}}
}

func (l *standIn) Keys() api.Keys {
	return api.Keys{Schema: api.KeysSchema, NodeID: idAlpha, Identity: "aWRlbnRpdHk=", Slots: []api.Slot{{Interface: "wg-a1a1a1a1-0", Port: 6783, PublicKey: "cHVibGlj", Generation: 1, AgeS: 7300, Tunnels: 2}}}
}

func (l *standIn) Ping(_ context.Context, peer string, count int, each func(api.PingReply) error) error {
	lost := peer == idGamma1
	for seq := 1; seq <= count; seq++ {
		r := api.PingReply{Schema: api.PingSchema, Peer: "beta", Seq: seq, Path: api.Path{Kind: "direct", Endpoint: "192.0.2.2:6783"}}
		if r.Lost = lost; lost {
			r.Peer, r.Path = "gamma", api.Path{}
		} else {
			r.RTTms = 0.71
		}
		if err := each(r); err != nil {
			return err
		}
	}
	return nil
}

func (l *standIn) Capture(ctx context.Context, _ string, each func(api.CapturedFrame) error) error {
	for missed := range uint64(2) {
		// A broadcast ARP request of 10.32.1.1 for 10.32.1.2.
		frame := []byte{
			0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1,
			2, 0, 0, 0, 0, 1, 10, 32, 1, 1, 0, 0, 0, 0, 0, 0, 10, 32, 1, 2,
		}
		err := each(api.CapturedFrame{
			Schema: api.CaptureSchema, TimeNS: noon.UnixNano(), Network: "default", From: "port", Peer: "beta", Verdict: "broadcast to 1",
			Length: len(frame), Data: frame, Missed: missed,
		})
		if err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

func (l *standIn) Attach(_ context.Context, r api.AttachRequest) (api.Port, error) {
	l.attached = append(l.attached, r)
	return api.Port{Interface: "ethwe", MAC: "02:00:00:00:00:09", Addresses: r.Addresses}, l.refuse
}

func (l *standIn) Detach(_ context.Context, r api.DetachRequest) error {
	l.detached = append(l.detached, r)
	if r.Target == "nobody" {
		return api.Errorf(api.CodeNotFound, "nobody is not attached")
	}
	return nil
}

func (l *standIn) Expose(_ context.Context, r api.ExposeRequest) (api.Port, error) {
	l.exposed = append(l.exposed, r)
	return api.Port{Interface: "weavewg0", MAC: "02:00:00:00:00:08", Addresses: r.Addresses}, nil
}
func (l *standIn) Hide(_ context.Context, r api.ExposeRequest) error {
	l.exposed = append(l.exposed, r)
	return nil
}
func (l *standIn) Connect(targets []string) error {
	l.asked = append(l.asked, targets...)
	return nil
}
func (l *standIn) ForgetTargets(targets []string) error {
	l.asked = append(l.asked, targets...)
	return nil
}
func (l *standIn) ForgetNode(id string) error {
	l.asked = append(l.asked, id)
	return nil
}
func (l *standIn) Reload(context.Context) (api.ReloadResult, error) {
	return api.ReloadResult{Schema: api.ReloadSchema, Changed: []string{"peers", "log.level"}}, nil
}
func (l *standIn) Down(context.Context, bool) error { return errors.New("not in this test") }

// serve answers for l on a socket until the test ends.
func (l *standIn) serve(t *testing.T) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "weavewg.sock")
	listener, err := api.Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var task sync.WaitGroup
	task.Go(func() {
		if err := api.NewServer(l, "0.1.0", zap.NewNop()).Serve(ctx, listener); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); task.Wait() })
	return socket
}

// typed runs a command line against a socket, in this process.
func typed(t *testing.T, socket, line string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	words := strings.Fields(line)
	code = run(t.Context(), append([]string{"--socket", socket}, words...), strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}
