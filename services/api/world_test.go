package api

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is a Backend of one network and three peers, two of which share a name.
type small struct {
	mu      sync.Mutex
	status  Status
	ports   []Port
	targets []string
	forgot  []string
	down    chan bool
	err     error
	blocked chan struct{} // closed when Attach was entered and waits
}

const (
	idBeta   = "b1b1b1b1000000000000000000000001"
	idGamma1 = "c1c1c1c1000000000000000000000002"
	idGamma2 = "c1c1c2c2000000000000000000000003"
)

func newSmall() *small {
	return &small{
		down: make(chan bool, 1),
		status: Status{
			Schema: StatusSchema, Mesh: "home", Ready: true,
			Node: Node{Name: "alpha", ID: "a1a1a1a1000000000000000000000000", PID: 12, Overlay: netip.MustParseAddr("fd00::1"), Addresses: []netip.Addr{}},
			Peers: []Peer{
				{Name: "beta", ID: idBeta, State: "up", Control: "up", Path: Path{Kind: "direct", Endpoint: "192.0.2.2:6783"}},
				{Name: "gamma", ID: idGamma1, State: "down", Control: "down"},
				{Name: "gamma", ID: idGamma2, State: "down", Control: "down"},
			},
			Targets: []Target{
				{Address: "beta.example:6783", Source: "config", Place: "/etc/weavewg/weavewg.yaml:9"},
				{Address: "192.0.2.9:6783", Source: "connect"},
			},
			Networks: []Network{{Name: "default"}}, Problems: []Problem{},
		},
	}
}

func (s *small) Status() Status     { s.mu.Lock(); defer s.mu.Unlock(); return s.status }
func (s *small) Counters() Counters { return Counters{} }
func (s *small) Keys() Keys         { return Keys{Schema: KeysSchema, NodeID: s.status.Node.ID} }
func (s *small) Config() string     { return "mesh: home\n" }

func (s *small) Ports() Ports {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Ports{Schema: PortsSchema, Ports: slices.Clone(s.ports)}
}

func (s *small) MACs(network string) (MACs, error) {
	if network != "" && network != "default" {
		return MACs{}, Errorf(CodeNotFound, "no network %q here", network)
	}
	return MACs{Schema: MACsSchema, MACs: []MAC{{Network: "default", MAC: "02:00:00:00:00:01", Peer: "beta"}}}, nil
}

func (s *small) Ping(ctx context.Context, peer string, count int, each func(PingReply) error) error {
	for seq := 0; count == 0 || seq < count; seq++ {
		if err := each(PingReply{Schema: PingSchema, Peer: peer, Seq: seq, RTTms: 1.5}); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return s.err
}

func (s *small) Capture(ctx context.Context, _ string, each func(CapturedFrame) error) error {
	if err := each(CapturedFrame{Schema: CaptureSchema, Verdict: "known", Data: []byte{1, 2, 3}}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (s *small) Attach(ctx context.Context, r AttachRequest) (Port, error) {
	if s.blocked != nil {
		close(s.blocked)
		<-ctx.Done()
		return Port{}, ctx.Err()
	}
	if r.Target == "secret-panic" {
		panic("a fault")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := Port{Network: "default", Target: r.Target, Interface: "ethwe", Addresses: r.Addresses, State: "up"}
	s.ports = append(s.ports, p)
	return p, s.err
}

func (s *small) Detach(_ context.Context, r DetachRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, p := range s.ports {
		if p.Target == r.Target {
			s.ports = slices.Delete(s.ports, i, i+1)
			return nil
		}
	}
	return Errorf(CodeNotFound, "%s is not plugged in here", r.Target)
}

func (s *small) Expose(context.Context, ExposeRequest) (Port, error) {
	return Port{}, errors.New("RTNETLINK answers: file exists")
}
func (s *small) Hide(context.Context, ExposeRequest) error { return nil }

func (s *small) Connect(targets []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = append(s.targets, targets...)
	return nil
}

func (s *small) ForgetTargets(targets []string) error {
	s.forgot = append(s.forgot, targets...)
	return nil
}

func (s *small) ForgetNode(id string) error {
	s.forgot = append(s.forgot, id)
	return nil
}

func (s *small) Reload(context.Context) (ReloadResult, error) {
	return ReloadResult{Schema: ReloadSchema, Changed: []string{"log.level"}}, nil
}

func (s *small) Down(_ context.Context, purge bool) error {
	s.down <- purge
	return nil
}

// served starts a server on a real socket, and returns a client and what ends the server.
func served(t *testing.T, b Backend) (*Client, context.CancelFunc) {
	t.Helper()
	return serving(t, NewServer(b, "test", zap.NewNop()))
}

func serving(t *testing.T, s *Server) (*Client, context.CancelFunc) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weavewg.sock")
	l, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	c := NewClient(path)
	stop := sync.OnceFunc(func() {
		cancel()
		c.Close()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("server: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the server does not end")
		}
	})
	t.Cleanup(stop)
	return c, stop
}
