package bench

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/weavewg/weavewg/integration/lab"
)

// Fastd is the fastest encrypted layer-2 tunnel in Debian: fastd with a tap and its fastest cipher.
type Fastd struct{ running []lab.Process }

// fastdMTU is the largest that does not fragment: 1500 less IP 20, UDP 8, fastd's salsa2012+umac 24 and Ethernet 14.
const fastdMTU = 1500 - 20 - 8 - 24 - 14

const fastdName = "fastd0"

// FastdA and FastdB are the addresses on the tap devices.
var (
	FastdA = netip.MustParseAddr("10.96.0.1")
	FastdB = netip.MustParseAddr("10.96.0.2")
)

// Name implements Contender.
func (f *Fastd) Name() string { return "fastd tap, salsa2012+umac" }

// Kind implements Contender.
func (f *Fastd) Kind() Kind { return OtherL2 }

// Start implements Contender.
func (f *Fastd) Start(ctx context.Context, p *Pair) (Route, error) {
	secretA, publicA, err := fastdKeys(ctx, p.A)
	if err != nil {
		return Route{}, err
	}
	secretB, publicB, err := fastdKeys(ctx, p.B)
	if err != nil {
		return Route{}, err
	}
	for _, end := range []struct {
		host           *lab.Host
		secret, public string
		remote, addr   netip.Addr
	}{{p.A, secretA, publicB, p.AddrB, FastdA}, {p.B, secretB, publicA, p.AddrA, FastdB}} {
		if err := f.run(ctx, end.host, end.secret, end.public, end.remote); err != nil {
			return Route{}, fmt.Errorf("%s: fastd: %w", end.host.Name(), err)
		}
		if err := addAddress(end.host.Space, fastdName, netip.PrefixFrom(end.addr, 24)); err != nil {
			return Route{}, err
		}
	}
	route := Route{From: p.A, To: p.B, Addr: FastdB}
	return route, route.answers(ctx)
}

func (f *Fastd) run(ctx context.Context, host *lab.Host, secret, public string, remote netip.Addr) error {
	dir, err := host.Dir()
	if err != nil {
		return err
	}
	config := fmt.Sprintf(`
log level warn;
mode tap;
interface "%s";
method "salsa2012+umac";
mtu %d;
bind any:7000;
secret "%s";
peer "other" { key "%s"; remote %s:7000; }
`, fastdName, fastdMTU, secret, public, remote)
	file := filepath.Join(dir, "fastd.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return err
	}
	child, err := host.Start(ctx, "fastd", "--config", file)
	if err != nil {
		return err
	}
	f.running = append(f.running, child)
	err = waitFor(ctx, "fastd's tap", func() bool {
		_, err := host.Netlink().LinkByName(fastdName)
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, child.Output().Stderr)
	}
	return nil
}

func fastdKeys(ctx context.Context, host *lab.Host) (secret, public string, err error) {
	out, err := lab.Must(ctx, host, "fastd", "--generate-key")
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch name {
		case "Secret":
			secret = value
		case "Public":
			public = value
		}
	}
	if secret == "" || public == "" {
		return "", "", fmt.Errorf("fastd --generate-key printed no keys: %q", out)
	}
	return secret, public, nil
}

// Stop implements Contender.
func (f *Fastd) Stop(ctx context.Context) error { return stopAll(ctx, f.running) }
