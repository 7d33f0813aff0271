package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse([]File{{Name: "/etc/weavewg/weavewg.yaml", Data: []byte(text)}}, Sources{Hostname: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDefaults(t *testing.T) {
	c := mustParse(t, "mesh: home\n")
	switch {
	case c.Mesh != "home", c.Node.Name != "alpha", c.Listen.Port != 6783, c.Listen.Address.IsValid():
	case c.SecretFile != "/etc/weavewg/home.secret", c.StateDir != "/var/lib/weavewg", c.RunDir != "/run/weavewg":
	case c.WireGuard != "auto", c.Datapath != "auto", !c.Relay, c.ForgetAfter != 7*24*time.Hour:
	case len(c.Networks) != 1, c.Networks[0].Name != "default", c.Networks[0].VNI != AutoVNI("home", "default"), c.Networks[0].MTU != 0:
	case c.Networks[0].Subnet != netip.MustParsePrefix("10.32.0.0/12"), c.Networks[0].Address.IsValid():
	case c.API.Metrics != "127.0.0.1:6782", c.API.Group != "weavewg", c.Log.Level != "info", c.Log.Format != "auto":
	default:
		return
	}
	t.Errorf("defaults: %+v", c)
}

func TestEveryKey(t *testing.T) {
	c := mustParse(t, `
mesh: home
node: {name: beta}
listen: {address: 192.0.2.1, port: 7000, also_tcp: [443, 80]}
advertise: [203.0.113.7, "2001:db8::7"]
peers: [beta.example, "192.0.2.7:6784", "[2001:db8::1]", "[2001:db8::1]:99"]
proxy: http://proxy.example:3128
secret_file: other.secret
wireguard: userspace
datapath: pcap
relay: false
forget_after: 36h
networks:
  - {name: a, vni: 5, subnet: 192.168.4.0/24, address: 192.168.4.9/24, mtu: 1300}
  - {name: b, subnet: "fd12::/64"}
state_dir: state
run_dir: /run/beta
api: {metrics: "", group: ""}
log: {level: debug, format: json}
`)
	want := &Config{
		Mesh: "home", Node: Node{Name: "beta"},
		Listen:    Listen{Address: netip.MustParseAddr("192.0.2.1"), Port: 7000, AlsoTCP: []uint16{443, 80}},
		Advertise: []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")},
		Peers:     []string{"beta.example:6783", "192.0.2.7:6784", "[2001:db8::1]:6783", "[2001:db8::1]:99"},
		Proxy:     "http://proxy.example:3128", SecretFile: "/etc/weavewg/other.secret",
		WireGuard: "userspace", Datapath: "pcap", ForgetAfter: 36 * time.Hour,
		Networks: []Network{
			{Name: "a", VNI: 5, Subnet: netip.MustParsePrefix("192.168.4.0/24"), Address: netip.MustParsePrefix("192.168.4.9/24"), MTU: 1300},
			{Name: "b", VNI: AutoVNI("home", "b"), Subnet: netip.MustParsePrefix("fd12::/64")},
		},
		StateDir: "/etc/weavewg/state", RunDir: "/run/beta",
		Log: Log{Level: "debug", Format: "json"}, File: "/etc/weavewg/weavewg.yaml",
	}
	c.origins, c.values = nil, nil
	if d := cmp.Diff(want, c, cmp.AllowUnexported(Config{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Error(d)
	}
}

func TestNoNetworksIsAPureRelay(t *testing.T) {
	if c := mustParse(t, "mesh: home\nnetworks: []\n"); len(c.Networks) != 0 {
		t.Errorf("networks: %v", c.Networks)
	}
}

// TestBadInput has every fault that the file can have, with its whole message.
func TestBadInput(t *testing.T) {
	const f = "weavewg.yaml"
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for name, c := range map[string]struct{ text, want string }{
		"unknown key":             {"mesh: a\npeer: [b]\n", f + `:2:1: unknown key "peer" (did you mean "peers"?)`},
		"unknown key, inside":     {"mesh: a\nlisten:\n  prot: 7\n", f + `:3:3: unknown key "listen.prot" (did you mean "port"?)`},
		"unknown key, elsewhere":  {"mesh: a\nport: 7\n", f + `:2:1: unknown key "port" (did you mean "listen.port"?)`},
		"unknown key, in a list":  {"mesh: a\nnetworks:\n  - name: x\n    vnid: 7\n", f + `:4:5: unknown key "networks[0].vnid" (did you mean "vni"?)`},
		"unknown key, far":        {"mesh: a\nkubernetes: 7\n", f + `:2:1: unknown key "kubernetes"`},
		"key in capitals":         {"Mesh: a\n", f + `:1:1: unknown key "Mesh" (did you mean "mesh"?)`},
		"key twice":               {"mesh: a\nrelay: true\nmesh: b\n", f + `:3:1: mesh: given twice, first in line 1`},
		"tab":                     {"mesh: a\nlisten:\n\tport: 7\n", f + `:3:1: tab in the indentation: use spaces`},
		"indentation":             {"mesh: a\nlisten:\n  port: 7\n address: x\n", f + `:3: did not find expected key`},
		"wrong type, number":      {"mesh: a\nlisten: {port: many}\n", f + `:2:16: listen.port: want a number, got "many"`},
		"wrong type, text":        {"mesh: 12\n", f + `:1:7: mesh: want text, got the number 12 (quote it: "12")`},
		"wrong type, bool":        {"mesh: a\nrelay: maybe\n", f + `:2:8: relay: want true or false, got "maybe"`},
		"wrong type, list":        {"mesh: a\npeers: beta\n", f + `:2:8: peers: want a list of text, got "beta"`},
		"wrong type, section":     {"mesh: a\nlisten: 6783\n", f + `:2:9: listen: want keys below it, got the number 6783`},
		"wrong type, entry":       {"mesh: a\nnetworks: [x]\n", f + `:2:12: networks[0]: want keys such as name: default, got "x"`},
		"list for text":           {"mesh: [a]\n", f + `:1:7: mesh: want text, got a list`},
		"no value":                {"mesh: a\npeers:\n", f + `:2:7: peers: has no value ([] for none)`},
		"huge number":             {"mesh: a\nlisten: {port: 99999999999999999999}\n", f + `:2:16: listen.port: want a number, got the number 99999999999999999999`},
		"fraction":                {"mesh: a\nlisten: {port: 6.5}\n", f + `:2:16: listen.port: want a number, got the number 6.5`},
		"alias":                   {"mesh: &m a\nnode: {name: *m}\n", f + ":1:7: aliases not allowed: write the value out\n" + f + ":2:14: aliases not allowed: write the value out"},
		"unknown alias":           {"mesh: *m\n", f + ": aliases not allowed: write the value out"},
		"tag":                     {"mesh: !!binary YQ==\n", f + `:1:7: tags such as !!binary not allowed: write the plain value`},
		"two documents":           {"mesh: a\n---\nmesh: b\n", f + `:2:1: more than one document: remove the line ---`},
		"not a mapping":           {"- mesh\n", f + `:1:1: want keys such as mesh: home, got a list`},
		"too large":               {strings.Repeat("#", MaxFile+1), f + `: config larger than 1 MiB`},
		"NUL":                     {"mesh: a\nnode: {name: \x00}\n", f + `:2:14: NUL byte: not a text file`},
		"byte order mark":         {"\xef\xbb\xbfmesh: a\n", f + `:1:1: starts with a byte order mark: save it as UTF-8 without one`},
		"UTF-16":                  {"\xff\xfem\x00e\x00", f + `: UTF-16, not UTF-8: save it as UTF-8`},
		"Latin-1":                 {"mesh: a\nnode: {name: M\xfcller}\n", f + `:2: not UTF-8`},
		"no mesh":                 {"", `mesh: give your mesh a name, the same on every node, such as "mesh: home"`},
		"mesh with a slash":       {"mesh: ../etc\n", f + `:1:7: mesh: "../etc": use letters, digits, and . _ - inside`},
		"long name":               {"mesh: " + strings.Repeat("a", 64) + "\n", f + `:1:7: mesh: "` + strings.Repeat("a", 64) + `" is longer than 63 bytes`},
		"node name":               {"mesh: a\nnode: {name: my node}\n", f + `:2:14: node.name: "my node": use letters, digits, and . _ - inside`},
		"port 0":                  {"mesh: a\nlisten: {port: 0}\n", f + `:2:16: listen.port: 0 is not in 1..65535`},
		"port 70000":              {"mesh: a\nlisten: {port: 70000}\n", f + `:2:16: listen.port: 70000 is not in 1..65535`},
		"port -1":                 {"mesh: a\nlisten: {port: -1}\n", f + `:2:16: listen.port: -1 is not in 1..65535`},
		"port + 3":                {"mesh: a\nlisten: {port: 65533}\n", f + `:2:16: listen.port: 65533 leaves no room for the UDP ports 65533..65536; use at most 65532`},
		"also_tcp is port":        {"mesh: a\nlisten: {also_tcp: [6783]}\n", f + `:2:21: listen.also_tcp[0]: 6783 is listen.port already`},
		"also_tcp twice":          {"mesh: a\nlisten: {also_tcp: [443, 443]}\n", f + `:2:26: listen.also_tcp[1]: 443 is given twice`},
		"also_tcp range":          {"mesh: a\nlisten: {also_tcp: [443, 70000]}\n", f + `:2:26: listen.also_tcp[1]: 70000 is not in 1..65535`},
		"listen address":          {"mesh: a\nlisten: {address: localhost}\n", f + `:2:19: listen.address: "localhost" is not an IP address (empty: all)`},
		"listen multicast":        {"mesh: a\nlisten: {address: 224.0.0.1}\n", f + `:2:19: listen.address: 224.0.0.1 is a multicast address`},
		"advertise name":          {"mesh: a\nadvertise: [example.org]\n", f + `:2:13: advertise[0]: "example.org" is not an IP address`},
		"advertise 0.0.0.0":       {"mesh: a\nadvertise: [0.0.0.0]\n", f + `:2:13: advertise[0]: nobody can dial 0.0.0.0`},
		"peer IPv6, no brackets":  {"mesh: a\npeers: [\"2001:db8::1\"]\n", f + `:2:9: peers[0]: "2001:db8::1": put IPv6 addresses in brackets, such as "[2001:db8::1]:6783"`},
		"peer port":               {"mesh: a\npeers: [\"b:70000\"]\n", f + `:2:9: peers[0]: address "b:70000": port "70000" is not in 1..65535`},
		"peer port, text":         {"mesh: a\npeers: [\"b:ssh\"]\n", f + `:2:9: peers[0]: address "b:ssh": port "ssh" is not in 1..65535`},
		"peer with a space":       {"mesh: a\npeers: [\"b c\"]\n", f + `:2:9: peers[0]: address "b c": "b c" is no host name: it holds ' '`},
		"peer empty":              {"mesh: a\npeers: [\"\"]\n", f + `:2:9: peers[0]: address is empty: write a host name or an IP address, with :port if it is not 6783`},
		"peer URL":                {"mesh: a\npeers: [\"http://b\"]\n", f + `:2:9: peers[0]: address "http://b": is a URL: write host:port only`},
		"peer brackets, name":     {"mesh: a\npeers: [\"[b]\"]\n", f + `:2:9: peers[0]: address "[b]": brackets are for IPv6 addresses: write [address]:port`},
		"peer brackets, open":     {"mesh: a\npeers: [\"[::1\"]\n", f + `:2:9: peers[0]: address "[::1": brackets are for IPv6 addresses: write [address]:port`},
		"peer twice":              {"mesh: a\npeers: [b, \"b:6783\"]\n", f + `:2:12: peers[1]: b:6783 is given twice`},
		"peer everywhere":         {"mesh: a\npeers: [\"0.0.0.0\"]\n", f + `:2:9: peers[0]: address "0.0.0.0": nobody can be reached at 0.0.0.0: write the address of one host`},
		"peers, too many":         {"mesh: a\npeers:\n" + many(257, "  - b%d\n"), f + `:3:3: peers: 257 entries, at most 256: a few first contacts are enough`},
		"proxy":                   {"mesh: a\nproxy: ftp://user:hush@x\n", f + `:2:8: proxy: want http://HOST:PORT`},
		"proxy, TLS":              {"mesh: a\nproxy: https://user:hush@x:3128\n", f + `:2:8: proxy: a proxy that is itself spoken to in TLS does not work here; want http://HOST:PORT`},
		"proxy, no host":          {"mesh: a\nproxy: http://:3128\n", f + `:2:8: proxy: want http://HOST:PORT`},
		"proxy, port":             {"mesh: a\nproxy: x:70000\n", f + `:2:8: proxy: port 70000 is not in 1..65535`},
		"wireguard":               {"mesh: a\nwireguard: kernal\n", f + `:2:12: wireguard: "kernal" is not one of auto, kernel, userspace (did you mean "kernel"?)`},
		"datapath":                {"mesh: a\ndatapath: vxlan\n", f + `:2:11: datapath: "vxlan" is not one of auto, kernel, pcap`},
		"datapath, later":         {"mesh: a\ndatapath: kernel\n", f + `:2:11: datapath: kernel is not yet in this version; use auto or pcap`},
		"log level":               {"mesh: a\nlog: {level: debgu}\n", f + `:2:14: log.level: "debgu" is not one of info, debug, warn, error (did you mean "debug"?)`},
		"log format":              {"mesh: a\nlog: {format: xml}\n", f + `:2:15: log.format: "xml" is not one of auto, console, json`},
		"forget_after":            {"mesh: a\nforget_after: soon\n", f + `:2:15: forget_after: "soon" is not a time such as 90s, 12h or 7d`},
		"forget_after negative":   {"mesh: a\nforget_after: -1h\n", f + `:2:15: forget_after: -1h is negative`},
		"network without a name":  {"mesh: a\nnetworks:\n  - vni: 4\n", f + `:3:5: networks[0]: give the network a name`},
		"network twice":           {"mesh: a\nnetworks: [{name: x}, {name: x}]\n", f + `:2:30: networks[1].name: "x" is networks[0] already`},
		"networks, too many":      {"mesh: a\nnetworks:\n" + many(33, "  - name: n%d\n"), f + `:3:3: networks: 33 entries, at most 32`},
		"vni 0":                   {"mesh: a\nnetworks: [{name: x, vni: 0}]\n", f + `:2:27: networks[0].vni: 0 is not in 1..16777215`},
		"vni 2^24":                {"mesh: a\nnetworks: [{name: x, vni: 16777216}]\n", f + `:2:27: networks[0].vni: 16777216 is not in 1..16777215`},
		"vni text":                {"mesh: a\nnetworks: [{name: x, vni: any}]\n", f + `:2:27: networks[0].vni: "any" is neither auto nor a number`},
		"vni clash":               {"mesh: a\nnetworks: [{name: x, vni: 7}, {name: y, vni: 7}]\n", f + `:2:46: networks[1].vni: 7 is the vni of network "x" already; give one of them another`},
		"subnet, host bits":       {"mesh: a\nnetworks: [{name: x, subnet: 10.1.2.3/24}]\n", f + `:2:30: networks[0].subnet 10.1.2.3/24 has host bits; use 10.1.2.0/24`},
		"subnet, too small":       {"mesh: a\nnetworks: [{name: x, subnet: 10.1.2.2/31}]\n", f + `:2:30: networks[0].subnet 10.1.2.2/31 is too small: at least two free addresses, so /30`},
		"subnet, mask":            {"mesh: a\nnetworks: [{name: x, subnet: 10.1.2.0/64}]\n", f + `:2:30: networks[0].subnet: "10.1.2.0/64": /64 is no mask of an IPv4 address: 0 to 32`},
		"subnet, no mask":         {"mesh: a\nnetworks: [{name: x, subnet: 10.1.2.0}]\n", f + `:2:30: networks[0].subnet: "10.1.2.0" is not an address with a mask, such as 10.32.0.0/12`},
		"subnet, loopback":        {"mesh: a\nnetworks: [{name: x, subnet: 127.0.0.0/8}]\n", f + `:2:30: networks[0].subnet 127.0.0.0/8 is not a range that hosts may use, such as 10.32.0.0/12`},
		"subnet, all":             {"mesh: a\nnetworks: [{name: x, subnet: 0.0.0.0/0}]\n", f + `:2:30: networks[0].subnet 0.0.0.0/0 is not a range that hosts may use, such as 10.32.0.0/12`},
		"address, no mask":        {"mesh: a\nnetworks: [{name: x, address: 10.32.0.1}]\n", f + `:2:31: networks[0].address 10.32.0.1 has no mask; write 10.32.0.1/12`},
		"address, auto":           {"mesh: a\nnetworks: [{name: x, address: auto}]\n", f + `:2:31: networks[0].address: auto needs ipam, which is not yet in this version; write an address and mask, such as 10.32.0.1/12`},
		"address, the network's":  {"mesh: a\nnetworks: [{name: x, address: 10.32.0.0/12}]\n", f + `:2:31: networks[0].address: 10.32.0.0/12 is the network's own address; give one inside it`},
		"address, the broadcast":  {"mesh: a\nnetworks: [{name: x, address: 10.47.255.255/12}]\n", f + `:2:31: networks[0].address: 10.47.255.255/12 is the broadcast address of its network`},
		"addresses overlap":       {"mesh: a\nnetworks: [{name: x, address: 10.1.0.1/16}, {name: y, address: 10.1.2.1/24}]\n", f + `:2:64: networks[1].address 10.1.2.1/24 overlaps networks[0].address 10.1.0.1/16: the host could not tell the two networks apart`},
		"mtu 100":                 {"mesh: a\nnetworks: [{name: x, mtu: 100}]\n", f + `:2:27: networks[0].mtu 100 is below 1280 (IPv6 minimum)`},
		"mtu 100000":              {"mesh: a\nnetworks: [{name: x, mtu: 100000}]\n", f + `:2:27: networks[0].mtu 100000 is above 65385 (what fits a datagram beside WireGuard and VXLAN)`},
		"mtu text":                {"mesh: a\nnetworks: [{name: x, mtu: big}]\n", f + `:2:27: networks[0].mtu: "big" is neither auto nor a number`},
		"metrics":                 {"mesh: a\napi: {metrics: localhost}\n", f + `:2:16: api.metrics: "localhost" is not ADDRESS:PORT, such as 127.0.0.1:6782 (empty: off)`},
		"group":                   {"mesh: a\napi: {group: \"a b\"}\n", f + `:2:14: api.group: "a b": use letters, digits, and . _ - inside`},
		"run_dir, too long":       {"mesh: a\nrun_dir: /" + strings.Repeat("r", 94) + "\n", f + `:2:10: run_dir: /` + strings.Repeat("r", 59) + `… is too long for a socket: at most 94 bytes`},
		"run_dir, empty":          {"mesh: a\nrun_dir: \"\"\n", f + `:2:10: run_dir: give a path`},
		"all faults at once":      {"mash: a\nlisten: {port: x}\nrelay: 7\n", f + ":1:1: unknown key \"mash\" (did you mean \"mesh\"?)\n" + f + ":2:16: listen.port: want a number, got \"x\"\n" + f + ":3:8: relay: want true or false, got the number 7"},
		"depth":                   {"mesh: a\npeers: " + strings.Repeat("[", 20000) + "\n", f + `:2: exceeded max depth of 10000`},
		"an anchor on a key":      {"&k mesh: a\n", f + `:1:1: aliases not allowed: write the value out`},
		"merge key":               {"mesh: a\n<<: {relay: true}\n", f + `:2:1: unknown key "<<"`},
		"control characters":      {"mesh: a\nstate_dir: \"/x\\ny\"\n", f + `:2:12: state_dir: "/x\ny" is not a path`},
		"a key that is a mapping": {"? {a: b}\n: c\n", f + `:1:3: want a key, got keys`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]File{{Name: f, Data: []byte(c.text)}}, Sources{Hostname: "alpha"})
			if err == nil {
				t.Fatalf("no error, want %q", c.want)
			}
			if got := err.Error(); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestEnvironmentAndFlags(t *testing.T) {
	fs := pflag.NewFlagSet("up", pflag.ContinueOnError)
	Flags(fs)
	if err := fs.Parse([]string{"--log-level", "debug", "--listen-also-tcp", "443,80"}); err != nil {
		t.Fatal(err)
	}
	c, err := Parse([]File{{Name: "/x/weavewg.yaml", Data: []byte("mesh: home\npeers: [a, b]\nlog: {level: warn}\n")}}, Sources{
		Hostname: "alpha", Flags: fs,
		Environ: []string{"WEAVEWG_LISTEN_PORT=7000", "WEAVEWG_PEERS=c, d:9", "WEAVEWG_LOG_LEVEL=error", "WEAVEWG_LISTEN_PROT=1", "HOME=/root", "WEAVEWG_RELAY=false"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.Port != 7000 || c.Log.Level != "debug" || c.Relay || !cmp.Equal(c.Peers, []string{"c:6783", "d:9"}) || !cmp.Equal(c.Listen.AlsoTCP, []uint16{443, 80}) {
		t.Errorf("values: %+v", c)
	}
	for path, want := range map[string]string{
		"mesh": "/x/weavewg.yaml:1", "listen.port": "WEAVEWG_LISTEN_PORT", "peers": "WEAVEWG_PEERS", "peers[1]": "WEAVEWG_PEERS",
		"log.level": "--log-level", "log.format": "default", "networks[0].mtu": "default",
	} {
		if got := c.Origin(path).String(); got != want {
			t.Errorf("origin of %s: %s, want %s", path, got, want)
		}
	}
	if want := []string{"environment: WEAVEWG_LISTEN_PROT overrides no key (did you mean WEAVEWG_LISTEN_PORT?)"}; !cmp.Equal(c.Warnings, want) {
		t.Errorf("warnings: %q", c.Warnings)
	}
	for text, want := range map[string]string{
		"WEAVEWG_LISTEN_PORT=x":        `WEAVEWG_LISTEN_PORT: listen.port: "x" is not a number`,
		"WEAVEWG_LISTEN_PORT=0":        `WEAVEWG_LISTEN_PORT: listen.port: 0 is not in 1..65535`,
		"WEAVEWG_RELAY=yes":            `WEAVEWG_RELAY: relay: want true or false, got "yes"`,
		"WEAVEWG_LISTEN_ALSO_TCP=4,x":  `WEAVEWG_LISTEN_ALSO_TCP: listen.also_tcp: "x" is not a number`,
		"WEAVEWG_PEERS=a,2001:db8::1":  `WEAVEWG_PEERS: peers[1]: "2001:db8::1": put IPv6 addresses in brackets, such as "[2001:db8::1]:6783"`,
		"WEAVEWG_NODE_NAME=a/b":        `WEAVEWG_NODE_NAME: node.name: "a/b": use letters, digits, and . _ - inside`,
		"WEAVEWG_API_METRICS=anywhere": `WEAVEWG_API_METRICS: api.metrics: "anywhere" is not ADDRESS:PORT, such as 127.0.0.1:6782 (empty: off)`,
	} {
		_, err := Parse([]File{{Name: "/x/weavewg.yaml", Data: []byte("mesh: home\n")}}, Sources{Hostname: "alpha", Environ: []string{text}})
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestHostName(t *testing.T) {
	_, err := Parse([]File{{Name: "f", Data: []byte("mesh: a\n")}}, Sources{Hostname: "(none)"})
	if want := `node.name: the host's name "(none)" does not do; give the node a name of letters, digits, and . _ - inside`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestRoutes(t *testing.T) {
	routes := []Route{{netip.MustParsePrefix("0.0.0.0/0"), "eth0"}, {netip.MustParsePrefix("10.40.0.0/24"), "eth0"}}
	parse := func(text string) (*Config, error) {
		return Parse([]File{{Name: "f", Data: []byte(text)}}, Sources{Hostname: "alpha", Routes: routes})
	}
	c, err := parse("mesh: a\n")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"networks[0].subnet 10.32.0.0/12 overlaps route 10.40.0.0/24 dev eth0: harmless until the host itself joins (expose)"}; !cmp.Equal(c.Warnings, want) {
		t.Errorf("warnings %q", c.Warnings)
	}
	for text, want := range map[string]string{
		"mesh: a\nnetworks: [{name: x, address: 10.32.0.1/12}]\n": "f:2:31: networks[0].address 10.32.0.1/12 overlaps route 10.40.0.0/24 dev eth0",
		"mesh: a\nnetworks: [{name: x, address: 10.32.0.1/24}]\n": "f:2:12: networks[0].subnet 10.32.0.0/12 overlaps route 10.40.0.0/24 dev eth0, and the host itself joins this network",
	} {
		if _, err := parse(text); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	main := write("weavewg.yaml", "mesh: home\nlisten: {port: 7000, address: 192.0.2.1}\npeers: [a, b]\n")
	write("conf.d/20.yml", "listen: {port: 7002}\npeers: [d]\n")
	first := write("conf.d/10.yaml", "listen: {port: 7001}\npeers: [c, e]\nnode: {name: n}\n")
	write("conf.d/README", "not a configuration: [")
	c, err := Load(main, Sources{Hostname: "alpha"})
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen.Port != 7002 || c.Listen.Address.String() != "192.0.2.1" || c.Node.Name != "n" || !cmp.Equal(c.Peers, []string{"d:6783"}) || c.File != main {
		t.Errorf("merged: %+v", c)
	}
	if got := c.Origin("node.name").String(); got != first+":3" {
		t.Errorf("origin of node.name: %s", got)
	}
	if got := c.PeerPlace("d:6783"); !strings.HasSuffix(got, "conf.d/20.yml:2") {
		t.Errorf("place of peer d: %s", got)
	}
	if got := c.PeerPlace("a:6783"); got != "" {
		t.Errorf("place of a peer that was replaced: %s", got)
	}

	write("conf.d/30.yaml", "peer: x\n")
	if _, err := Load(main, Sources{}); err == nil || !strings.HasSuffix(err.Error(), `conf.d/30.yaml:1:1: unknown key "peer" (did you mean "peers"?)`) {
		t.Errorf("fault in conf.d: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "none.yaml"), Sources{}); !errors.Is(err, ErrNoFile) || !strings.Contains(err.Error(), "weavewg init -c") {
		t.Errorf("no file: %v", err)
	}
	if _, err := Load(dir, Sources{}); err == nil || !strings.HasSuffix(err.Error(), ": not a file") {
		t.Errorf("directory: %v", err)
	}
	if _, err := Load("/dev/zero", Sources{}); err == nil || err.Error() != "/dev/zero: not a file" {
		t.Errorf("device: %v", err)
	}
}

func TestShowRoundTrip(t *testing.T) {
	c := mustParse(t, "mesh: home\npeers: [b]\nproxy: http://user:hush@p.example:3128\nforget_after: 90m\nnetworks: [{name: x, mtu: 1400}, {name: y, vni: 9, address: 10.1.1.1/24}]\n")
	shown := c.Show()
	if strings.Contains(shown, "hush") {
		t.Errorf("a password is shown:\n%s", shown)
	}
	again := mustParse(t, shown)
	if d := cmp.Diff(c.Values(), again.Values()); d != "" {
		t.Errorf("what is shown reads differently:\n%s\n%s", d, shown)
	}
	for _, want := range []string{"mesh: home # /etc/weavewg/weavewg.yaml:1\n", "port: 6783 # default\n", "mtu: 1400 # /etc/weavewg/weavewg.yaml:5\n", "forget_after: 1h30m "} {
		if !strings.Contains(shown, want) {
			t.Errorf("not shown: %q in\n%s", want, shown)
		}
	}
	if empty := mustParse(t, "mesh: a\nnetworks: []\n").Show(); !strings.Contains(empty, "networks: []") {
		t.Errorf("no networks:\n%s", empty)
	}
}

func TestDiff(t *testing.T) {
	before := mustParse(t, "mesh: home\nproxy: http://u:one@p:1\n")
	after := mustParse(t, "mesh: home\nproxy: http://u:two@p:1\npeers: [b]\nnetworks: [{name: default, mtu: 1400}]\nlisten: {port: 7000}\n")
	var got []string
	for _, c := range Diff(before, after) {
		got = append(got, fmt.Sprintf("%s %v %s", c.Key, c.Restart, c.Where))
	}
	const f = "/etc/weavewg/weavewg.yaml"
	want := []string{"listen.port true " + f + ":5", "peers false " + f + ":3", "proxy true " + f + ":2", "networks false " + f + ":4"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if d := Diff(before, before); d != nil {
		t.Errorf("with itself: %v", d)
	}
}

func TestAutoVNI(t *testing.T) {
	seen := map[uint32]bool{}
	for i := range 200 {
		v := AutoVNI("home", fmt.Sprint(i))
		if v == 0 || v > maxVNI {
			t.Fatalf("vni %d", v)
		}
		seen[v] = true
	}
	if len(seen) < 199 {
		t.Errorf("200 networks have %d identifiers", len(seen))
	}
	if got := AutoVNI("home", "default"); got != 14630420 {
		t.Errorf("AutoVNI(home, default) = %d: it must never change, meshes would fall apart", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Reference))
	f.Add([]byte("mesh: a\nnetworks: [{name: x, vni: 0x7, mtu: 1_400}]\n"))
	f.Add([]byte("mesh: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse([]File{{Name: "f", Data: data}}, Sources{Hostname: "alpha"})
		if err != nil {
			return
		}
		again, err := Parse([]File{{Name: "f", Data: []byte(c.Show())}}, Sources{Hostname: "alpha"})
		if err != nil {
			t.Fatalf("what is shown is refused: %v\n%s", err, c.Show())
		}
		if d := cmp.Diff(c.Values(), again.Values()); d != "" {
			t.Fatalf("what is shown reads differently: %s", d)
		}
	})
}
