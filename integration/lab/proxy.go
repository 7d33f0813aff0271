package lab

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ProxySpec is an HTTP proxy. It serves whoever reaches it.
type ProxySpec struct {
	Port           uint16
	Connect        []uint16 // the ports that CONNECT may go to; none: all
	User, Password string   // what clients have to give (Basic); empty: nothing
}

// ServeProxy runs tinyproxy on all addresses of a host, and returns once it accepts connections.
func ServeProxy(ctx context.Context, h *Host, spec ProxySpec) (Process, error) {
	dir, err := h.Dir()
	if err != nil {
		return nil, err
	}
	lines := []string{"Port " + strconv.Itoa(int(spec.Port)), "Timeout 600", "MaxClients 100", "LogLevel Connect"}
	for _, p := range spec.Connect {
		lines = append(lines, "ConnectPort "+strconv.Itoa(int(p)))
	}
	if spec.User != "" {
		lines = append(lines, "BasicAuth "+spec.User+" "+spec.Password)
	}
	config := filepath.Join(dir, fmt.Sprintf("tinyproxy-%d.conf", spec.Port))
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	proxy, err := h.Start(ctx, "tinyproxy", "-d", "-c", config)
	if err != nil {
		return nil, err
	}
	return proxy, Until(ctx, func(ctx context.Context) error {
		if r := proxy.Output(); r.Exit >= 0 {
			return Final(fmt.Errorf("tinyproxy: %w", r.OK()))
		}
		return h.Do(func() error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(spec.Port))))
			if err != nil {
				return err
			}
			return conn.Close()
		})
	})
}
