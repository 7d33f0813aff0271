package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"strconv"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/services/api"
	"github.com/weavewg/weavewg/services/metrics"
	"github.com/weavewg/weavewg/topology/control"
	"github.com/weavewg/weavewg/wgmesh/wgdev"
)

// listen opens the sockets that others connect to: control, metrics, API. An error names the key to change and, if
// somebody else is in the way, who that is.
func (n *Node) listen(ctx context.Context) (err error) {
	c := n.config
	if n.listener, err = n.shaker.Listen(ctx, controlAddresses(c.Listen)...); err != nil {
		return controlPortError(c.Listen, err)
	}
	if c.API.Metrics != "" {
		if n.metrics, err = metrics.Listen(c.API.Metrics); err != nil {
			return metricsPortError(c.API.Metrics, err)
		}
	}
	if n.socket, err = api.Listen(config.Socket(c.RunDir), c.API.Group); err != nil {
		return err
	}
	if _, unknown := user.LookupGroup(c.API.Group); unknown != nil && c.API.Group != "" {
		n.log.Info("only root can use the API socket: this host has no such group", zap.String("evt", "api-group"), zap.String("api.group", c.API.Group))
	}
	return nil
}

func controlAddresses(l config.Listen) []string {
	host := ""
	if l.Address.IsValid() {
		host = l.Address.String()
	}
	var addresses []string
	for _, port := range append([]uint16{l.Port}, l.AlsoTCP...) {
		addresses = append(addresses, net.JoinHostPort(host, strconv.Itoa(int(port))))
	}
	return addresses
}

func controlPortError(l config.Listen, err error) error {
	failed, ok := errors.AsType[*control.PortError](err)
	switch {
	case ok && failed.Taken && failed.Port == l.Port:
		return wgdev.PortTaken("tcp", failed.Port)
	case ok && failed.Taken:
		return fmt.Errorf("port %d/tcp is taken by %s: change listen.also_tcp", failed.Port, wgdev.WhoHas("tcp", failed.Port))
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("listen.address: this host has no address %s", l.Address)
	}
	return err
}

func metricsPortError(address string, err error) error {
	_, text, splitting := net.SplitHostPort(address)
	port, parsing := strconv.ParseUint(text, 10, 16)
	if !errors.Is(err, unix.EADDRINUSE) || splitting != nil || parsing != nil {
		return err
	}
	return fmt.Errorf("port %d/tcp is taken by %s: set api.metrics to another address, or to \"\" for none", port, wgdev.WhoHas("tcp", uint16(port)))
}
