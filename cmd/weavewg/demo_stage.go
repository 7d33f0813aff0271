package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weavewg/weavewg/integration/lab"
)

// demoStage is what the demo is played on.
type demoStage struct {
	*lab.Lab
	hosts []*demoHost
}

// demoHost is one host, its daemon, and the container plugged in there.
type demoHost struct {
	*lab.Node
	link      *lab.Link
	container *lab.Space
	v4, v6    netip.Prefix // of the container
}

// name is the container's name.
func (h *demoHost) name() string { return h.Name() + "'s container" }

// newDemoStage builds the hosts; nothing of weavewg runs yet.
func newDemoStage() (*demoStage, error) {
	l, err := lab.New()
	if err != nil {
		return nil, err
	}
	s := &demoStage{Lab: l}
	if err := s.build(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *demoStage) build() error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	underlay, err := s.Switch("underlay")
	if err != nil {
		return err
	}
	for i, name := range []string{"alpha", "beta", "gamma"} {
		host, err := s.Host(name)
		if err != nil {
			return err
		}
		h := &demoHost{
			v4: netip.MustParsePrefix(fmt.Sprintf("10.32.0.%d/24", i+1)),
			v6: netip.MustParsePrefix(fmt.Sprintf("fd32::%d/64", i+1)),
		}
		h.link, err = s.Link(host, underlay, []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("192.0.2.%d/24", i+1))})
		if err != nil {
			return err
		}
		if h.container, err = s.Space(name + "-container"); err != nil {
			return err
		}
		spec := lab.NodeSpec{
			Mesh: "demo", Secret: hex.EncodeToString(secret), Binary: binary, Dir: filepath.Join(s.Dir(), name),
		}
		if i > 0 {
			spec.Peers = []string{"192.0.2.1"} // they know alpha, and find each other through it
		}
		if h.Node, err = lab.NewNode(context.Background(), host, spec); err != nil {
			return err
		}
		s.hosts = append(s.hosts, h)
	}
	return nil
}

// Report says what every node has to say about a failure.
func (s *demoStage) Report() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var b strings.Builder
	for _, h := range s.hosts {
		b.WriteString(h.Report(ctx))
	}
	return b.String()
}

// Close takes the nodes down as a user would, then removes what the lab made, come what may.
func (s *demoStage) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, h := range s.hosts {
		if h.Daemon() != nil {
			// A node that failed to start cannot be taken down; the lab ends its processes.
			_, _ = h.Command(ctx, "down")
		}
	}
	return s.Lab.Close()
}
