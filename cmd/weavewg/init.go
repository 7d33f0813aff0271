package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/weavewg/weavewg/config"
	"github.com/weavewg/weavewg/topology/control"
)

func newInitCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "init [-c FILE] [--mesh NAME] [--peers HOST,…]", Short: "Write a first configuration, identity and mesh secret; overwrite nothing",
		Args: args(0, 0), DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.init(cmd.Flags()) },
	}
	config.Flags(cmd.Flags())
	return cmd
}

// init makes what is missing of the three files and says what to do on the next host. The secret is never printed.
func (a *app) init(flags *pflag.FlagSet) error {
	file := a.configFile
	if file == "" {
		file = config.DefaultFile
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := a.writeConfig(file, flags); err != nil {
		return err
	}
	a.configFile = file
	c, err := a.load(config.Sources{})
	if err != nil {
		return err
	}
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{{filepath.Dir(c.SecretFile), 0o755}, {c.StateDir, 0o700}} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return err
		}
	}
	if err := control.CreateSecret(c.SecretFile); err == nil {
		fmt.Fprintf(a.out, "wrote  %s (the mesh's secret)\n", c.SecretFile)
	} else if errors.Is(err, fs.ErrExist) {
		fmt.Fprintf(a.out, "kept   %s (the mesh's secret)\n", c.SecretFile)
	} else {
		return err
	}
	if _, err := control.LoadSecrets(c.SecretFile); err != nil {
		return err
	}
	identity, err := control.CreateIdentity(c.IdentityFile())
	word := "wrote "
	if errors.Is(err, fs.ErrExist) {
		word = "kept  "
		identity, err = control.LoadIdentity(c.IdentityFile())
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s %s (this node is %s, id %s)\n", word, c.IdentityFile(), c.Node.Name, identity.ID())
	a.nextSteps(c)
	return nil
}

// writeConfig writes a first configuration with the keys that flags name, or keeps the one that is there.
func (a *app) writeConfig(file string, flags *pflag.FlagSet) error {
	given := false
	flags.Visit(func(f *pflag.Flag) { given = given || f.Name != "config" && f.Name != "socket" })
	if _, err := os.Lstat(file); err == nil {
		if given {
			return fmt.Errorf("%s is there already: edit it, or leave the flags out to keep it", file)
		}
		fmt.Fprintf(a.out, "kept   %s\n", file)
		return nil
	}
	if !flags.Changed("mesh") {
		if err := flags.Set("mesh", "home"); err != nil {
			return err
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	text, err := firstConfig(flags, config.Sources{Hostname: host, Environ: os.Environ()}, file)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if _, err = f.WriteString(text); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(file)) // half a file would be kept the next time
	}
	fmt.Fprintf(a.out, "wrote  %s\n", file)
	return nil
}

// firstConfig is the text of a configuration that says what the flags say, after it was checked.
func firstConfig(flags *pflag.FlagSet, s config.Sources, file string) (string, error) {
	s.Flags = flags
	c, err := config.Parse([]config.File{{Name: file}}, s)
	if err != nil {
		return "", err
	}
	var set []string
	flags.Visit(func(f *pflag.Flag) { set = append(set, f.Name) })
	body, err := yaml.Marshal(c.Only(set))
	if err != nil {
		return "", err
	}
	text := "# weavewg: what is not here has its default. All keys: weavewg config show\n" + string(body)
	if !flags.Changed("peers") {
		text += "peers: []  # first contacts, such as [beta.example, \"192.0.2.7:6783\"]\n"
	}
	return text, nil
}

// nextSteps prints how to start this node and the line for the next host.
func (a *app) nextSteps(c *config.Config) {
	contact := myAddress(c)
	if c.Listen.Port != config.DefaultPort {
		contact = net.JoinHostPort(contact, fmt.Sprint(c.Listen.Port))
	} else if strings.Contains(contact, ":") {
		contact = "[" + contact + "]"
	}
	login := strings.Trim(strings.TrimSuffix(contact, fmt.Sprintf(":%d", c.Listen.Port)), "[]")
	if strings.Contains(login, ":") {
		login = "[" + login + "]"
	}
	dir := filepath.Dir(c.SecretFile)
	fmt.Fprintf(a.out, "\nstart this node:       weavewg up -d%s\n", a.configArgument(c))
	fmt.Fprintf(a.out, "on the next host run:  mkdir -p %s && scp -p root@%s:%s %s/ && weavewg init --mesh %s --peers %s && weavewg up -d\n",
		dir, login, c.SecretFile, dir, c.Mesh, quoted(contact))
}

// configArgument is the -c argument for a configuration that is not at the standard place.
func (a *app) configArgument(c *config.Config) string {
	if c.File == config.DefaultFile {
		return ""
	}
	return " -c " + c.File
}

// quoted protects brackets from a shell.
func quoted(s string) string {
	if strings.ContainsAny(s, "[]") {
		return "'" + s + "'"
	}
	return s
}

// myAddress is where others are likely to reach this host: what it advertises, or the address that it would use towards
// the internet (no packet is sent), or its name.
func myAddress(c *config.Config) string {
	if len(c.Advertise) > 0 {
		return c.Advertise[0].String()
	}
	for _, probe := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // documentation addresses: RFC 5737, RFC 3849
		conn, err := net.Dial("udp", probe)
		if err != nil {
			continue
		}
		local := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
		conn.Close()
		if local != (netip.Addr{}) && !local.IsLoopback() {
			return local.WithZone("").String()
		}
	}
	return c.Node.Name
}
