package lab

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// ServeSSH runs this machine's sshd on a host, at port 22 of one of its addresses, and returns how root reaches it
// from another host: with keys made for it, and with nothing of this machine's own configuration.
func ServeSSH(ctx context.Context, server *Host, addr netip.Addr, from *Host) (SSHConfig, error) {
	c := SSHConfig{Name: server.Name(), Addr: netip.AddrPortFrom(addr, 22).String(), User: "root"}
	dir, err := server.Dir()
	if err != nil {
		return c, err
	}
	hostKey, hostPublic, err := newSSHKey()
	if err != nil {
		return c, err
	}
	userKey, userPublic, err := newSSHKey()
	if err != nil {
		return c, err
	}
	c.Key, c.HostKey = userKey, hostPublic
	path := func(name string) string { return filepath.Join(dir, name) }
	config := strings.Join([]string{
		"HostKey " + path("ssh_host_key"), "AuthorizedKeysFile " + path("authorized_keys"), "ListenAddress " + c.Addr,
		"PidFile none", "StrictModes no", "UsePAM no", "PermitRootLogin prohibit-password",
	}, "\n")
	for name, text := range map[string][]byte{
		"ssh_host_key": hostKey, "authorized_keys": ssh.MarshalAuthorizedKey(userPublic), "sshd_config": []byte(config),
	} {
		if err := os.WriteFile(path(name), text, 0o600); err != nil {
			return c, err
		}
	}
	// sshd refuses to start without this folder, which its unit makes elsewhere.
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		return c, err
	}
	sshd, err := server.Start(ctx, "/usr/sbin/sshd", "-D", "-e", "-f", path("sshd_config"))
	if err != nil {
		return c, err
	}
	c.Dial = func(ctx context.Context, addr string) (conn net.Conn, err error) {
		err = from.Do(func() error {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
			return err
		})
		return conn, err
	}
	return c, Until(ctx, func(ctx context.Context) error {
		if r := sshd.Output(); r.Exit >= 0 {
			return Final(fmt.Errorf("sshd: %w", r.OK()))
		}
		conn, err := c.Dial(ctx, c.Addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func newSSHKey() (private []byte, public ssh.PublicKey, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		return nil, nil, err
	}
	public, err = ssh.NewPublicKey(pub)
	return pem.EncodeToMemory(block), public, err
}
