package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// effective lists the values that this Config stands for, by the paths of the schema: what was derived (a VNI, a path, the
// host's name) is written out. Credentials in the proxy's address are left out.
func (c *Config) effective() map[string]any {
	address := ""
	if c.Listen.Address.IsValid() {
		address = c.Listen.Address.String()
	}
	networks := []any{}
	for _, n := range c.Networks {
		e := map[string]any{"name": n.Name, "vni": int(n.VNI), "subnet": n.Subnet.String(), "address": "", "mtu": any("auto")}
		if n.Address.IsValid() {
			e["address"] = n.Address.String()
		}
		if n.MTU != 0 {
			e["mtu"] = n.MTU
		}
		networks = append(networks, e)
	}
	return map[string]any{
		"mesh": c.Mesh, "node.name": c.Node.Name,
		"listen.address": address, "listen.port": int(c.Listen.Port), "listen.also_tcp": anys(c.Listen.AlsoTCP, func(p uint16) any { return int(p) }),
		"advertise": anys(c.Advertise, func(a netip.Addr) any { return a.String() }),
		"peers":     anys(c.Peers, func(p string) any { return p }),
		"proxy":     redacted(c.Proxy), "secret_file": c.SecretFile,
		"wireguard": c.WireGuard, "datapath": c.Datapath, "relay": c.Relay, "forget_after": days(c.ForgetAfter),
		"networks": networks, "state_dir": c.StateDir, "run_dir": c.RunDir,
		"api.metrics": c.API.Metrics, "api.group": c.API.Group,
		"log.level": c.Log.Level, "log.format": c.Log.Format,
	}
}

// Values returns the effective values by path, such as listen.port; networks is a list of maps. No secret is among them.
func (c *Config) Values() map[string]any { return c.effective() }

// Origins says for each path of Values where the value came from.
func (c *Config) Origins() map[string]string {
	all := map[string]string{}
	for _, l := range leaves() {
		all[l.path] = c.origins.of(l.path).String()
	}
	return all
}

// Show prints the effective configuration as a file that can be read again, with the origin of every value as a
// comment. It holds paths of secrets, never a secret.
func (c *Config) Show() string {
	root := c.node("", schema)
	out, err := yaml.Marshal(root)
	if err != nil {
		return "# " + err.Error() + "\n" // not possible for a tree of scalars, maps and lists
	}
	return string(out)
}

// node builds the mapping of keys below prefix.
func (c *Config) node(prefix string, keys []key) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range keys {
		path := prefix + k.name
		name := &yaml.Node{Kind: yaml.ScalarNode, Value: k.name}
		var value *yaml.Node
		switch k.kind {
		case section:
			value = c.node(path+".", k.sub)
		case items:
			value = c.networkNodes(path, k)
		case texts, numbers:
			value = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
			for _, e := range c.values[path].([]any) {
				value.Content = append(value.Content, scalarNode(e, ""))
			}
			value.LineComment = c.origins.of(path).String()
		default:
			value = scalarNode(c.values[path], c.origins.of(path).String())
		}
		m.Content = append(m.Content, name, value)
	}
	return m
}

func (c *Config) networkNodes(path string, k key) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for i, e := range c.values[path].([]any) {
		m := &yaml.Node{Kind: yaml.MappingNode}
		for _, sub := range k.sub {
			where := Origin{}
			if origin, ok := c.origins[indexed(path, i)+"."+sub.name]; ok {
				where = origin
			}
			m.Content = append(m.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: sub.name},
				scalarNode(e.(map[string]any)[sub.name], where.String()))
		}
		list.Content = append(list.Content, m)
	}
	if len(list.Content) == 0 {
		list.Style = yaml.FlowStyle
		list.LineComment = c.origins.of(path).String()
	}
	return list
}

func scalarNode(v any, comment string) *yaml.Node {
	n := &yaml.Node{}
	if err := n.Encode(v); err != nil {
		n = &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(v)}
	}
	n.LineComment = comment
	return n
}

// redacted leaves user and password out of a proxy's address.
func redacted(proxy string) string {
	u, err := url.Parse(proxy)
	if err != nil {
		return ""
	}
	u.User = nil
	return u.String()
}

// days prints a time as forget_after is written.
func days(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d%(24*time.Hour) == 0:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// anys turns a list into one of plain values.
func anys[T any](list []T, f func(T) any) []any {
	out := make([]any, len(list))
	for i, e := range list {
		out[i] = f(e)
	}
	return out
}

// Only returns the keys that these flags set, as the tree of a configuration file.
func (c *Config) Only(flags []string) map[string]any {
	tree := map[string]any{}
	for _, l := range leaves() {
		if !slices.Contains(flags, l.option()) {
			continue
		}
		v := c.values[l.path]
		if l.path == "proxy" {
			v = c.Proxy // a file may hold what is never shown
		}
		section, name, nested := strings.Cut(l.path, ".")
		if !nested {
			tree[l.path] = v
			continue
		}
		keys, ok := tree[section].(map[string]any)
		if !ok {
			keys = map[string]any{}
			tree[section] = keys
		}
		keys[name] = v
	}
	return tree
}
