package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/weavewg/weavewg/integration/lab"
)

// Weavewg is the real program with a container-like namespace plugged in at either end.
type Weavewg struct {
	// Program is bin/weavewg.
	Program string

	up []weavewgNode
}

type weavewgNode struct {
	host   *lab.Host
	config string
}

// WeavewgA and WeavewgB are the addresses of what is plugged in.
var (
	WeavewgA = netip.MustParsePrefix("10.32.0.1/12")
	WeavewgB = netip.MustParsePrefix("10.32.0.2/12")
)

// Name implements Contender.
func (w *Weavewg) Name() string { return "weavewg" }

// Kind implements Contender.
func (w *Weavewg) Kind() Kind { return Candidate }

// Start implements Contender.
func (w *Weavewg) Start(ctx context.Context, p *Pair) (Route, error) {
	dir, err := p.A.Dir()
	if err != nil {
		return Route{}, err
	}
	secret := filepath.Join(dir, "bench.secret")
	if _, err := lab.Must(ctx, p.A, w.Program, "secret", "generate", "-o", secret); err != nil {
		return Route{}, err
	}
	var route Route
	for _, end := range []struct {
		host *lab.Host
		name string
		peer netip.Addr
		addr netip.Prefix
		plug **lab.Host
	}{
		{p.A, "alpha", p.AddrB, WeavewgA, &route.From},
		{p.B, "beta", p.AddrA, WeavewgB, &route.To},
	} {
		node, err := w.start(ctx, end.host, end.name, end.peer, secret)
		if err != nil {
			return Route{}, err
		}
		container, err := p.lab.Host(end.host.Name() + "-container")
		if err != nil {
			return Route{}, err
		}
		*end.plug = container
		if _, err := node.run(ctx, w.Program, "attach", container.Path(), end.addr.String()); err != nil {
			return Route{}, err
		}
	}
	if _, err := w.up[0].run(ctx, w.Program, "wait", "--for", "peer=beta", "--timeout", "20s"); err != nil {
		return Route{}, err
	}
	route.Addr = WeavewgB.Addr()
	return route, route.answers(ctx)
}

func (w *Weavewg) start(ctx context.Context, host *lab.Host, name string, peer netip.Addr, secret string) (weavewgNode, error) {
	dir, err := host.Dir()
	if err != nil {
		return weavewgNode{}, err
	}
	node := weavewgNode{host: host, config: filepath.Join(dir, "weavewg.yaml")}
	config := fmt.Sprintf(`mesh: bench
node: {name: %s}
peers: ["%s"]
secret_file: %s
state_dir: %s
run_dir: %s
api: {metrics: ""}
log: {level: warn}
`, name, peer, secret, filepath.Join(dir, "state"), filepath.Join(dir, "run"))
	if err := os.WriteFile(node.config, []byte(config), 0o600); err != nil {
		return weavewgNode{}, err
	}
	w.up = append(w.up, node)
	_, err = node.run(ctx, w.Program, "up", "-d")
	return node, err
}

func (n weavewgNode) run(ctx context.Context, program string, argv ...string) (string, error) {
	return lab.Must(ctx, n.host, append(append([]string{program}, argv...), "-c", n.config)...)
}

// Stop implements Contender.
func (w *Weavewg) Stop(ctx context.Context) error {
	var errs []error
	for _, node := range w.up {
		_, err := node.run(ctx, w.Program, "down", "--purge")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
