package config

import (
	"strings"
)

// kind is the type of a key's value.
type kind uint8

const (
	text         kind = iota // a string
	number                   // a whole number
	flag                     // true or false
	textOrNumber             // "auto" or a whole number
	texts                    // a list of strings
	numbers                  // a list of whole numbers
	section                  // a mapping of keys
	items                    // a list of mappings
)

// String names the kind in messages, without article.
func (k kind) String() string {
	return [...]string{"text", "a number", "true or false", "auto or a number", "a list of text", "a list of numbers", "keys below it", "a list of entries"}[k]
}

// key describes one key of the file. The table below is the only list of keys: reading, defaults, environment, flags,
// config show and config reload all follow it, and a test holds reference.yaml against it.
type key struct {
	name string
	kind kind
	def  any    // default; nil where it depends on others (see parse)
	live bool   // takes effect on config reload; else it needs a restart
	doc  string // one line for --help
	sub  []key  // of section and items
}

// schema is the whole file.
var schema = []key{
	{name: "mesh", kind: text, def: "", doc: "name of the mesh"},
	{name: "node", kind: section, sub: []key{
		{name: "name", kind: text, def: "", doc: "name of this node (default: the host's name)"},
	}},
	{name: "listen", kind: section, sub: []key{
		{name: "address", kind: text, def: "", doc: "address of the TCP control port (default: all)"},
		{name: "port", kind: number, def: DefaultPort, doc: "TCP control port, and first of four UDP ports"},
		{name: "also_tcp", kind: numbers, def: []any{}, doc: "more TCP control ports"},
	}},
	{name: "advertise", kind: texts, def: []any{}, live: true, doc: "addresses that others should try first"},
	{name: "peers", kind: texts, def: []any{}, live: true, doc: "first contacts, HOST[:PORT]; the rest is discovered"},
	{name: "proxy", kind: text, def: "", doc: "outbound HTTP CONNECT proxy for the control port (default: HTTPS_PROXY)"},
	{name: "secret_file", kind: text, def: "", doc: "file of the mesh secret, mode 0600 (default: MESH.secret beside the configuration)"},
	{name: "wireguard", kind: text, def: "auto", doc: "auto, kernel or userspace"},
	{name: "datapath", kind: text, def: "auto", doc: "auto, kernel or pcap"},
	{name: "relay", kind: flag, def: true, doc: "forward ciphertext for others"},
	{name: "forget_after", kind: text, def: "7d", live: true, doc: "drop nodes that nobody has seen for this long; 0: never"},
	{name: "networks", kind: items, live: true, doc: "layer-2 segments", sub: []key{
		{name: "name", kind: text, doc: "name of the network"},
		{name: "vni", kind: textOrNumber, def: "auto", doc: "VXLAN network identifier; auto: from mesh and name"},
		{name: "subnet", kind: text, def: "10.32.0.0/12", doc: "what ipam hands out"},
		{name: "address", kind: text, def: "", doc: "this node's own address in the network"},
		{name: "mtu", kind: textOrNumber, def: "auto", doc: "bytes of the largest IP packet"},
	}},
	{name: "state_dir", kind: text, def: "/var/lib/weavewg", doc: "identity, attachments and targets"},
	{name: "run_dir", kind: text, def: DefaultRunDir, doc: "sockets of the daemon"},
	{name: "api", kind: section, sub: []key{
		{name: "metrics", kind: text, def: "127.0.0.1:6782", doc: "address of /metrics for Prometheus; empty: off"},
		{name: "group", kind: text, def: "weavewg", doc: "group that may use the API socket; membership equals root"},
	}},
	{name: "log", kind: section, sub: []key{
		{name: "level", kind: text, def: "info", live: true, doc: "debug, info, warn or error"},
		{name: "format", kind: text, def: "auto", doc: "auto, console or json"},
	}},
}

// leaf is a key with its whole path, such as listen.port.
type leaf struct {
	path string
	key
}

// leaves lists the keys that hold values, in the order of the file; networks is one of them.
func leaves() []leaf {
	var all []leaf
	var walk func(prefix string, keys []key)
	walk = func(prefix string, keys []key) {
		for _, k := range keys {
			if k.kind == section {
				walk(prefix+k.name+".", k.sub)
				continue
			}
			all = append(all, leaf{path: prefix + k.name, key: k})
		}
	}
	walk("", schema)
	return all
}

// find returns the key of a name among keys.
func find(keys []key, name string) (key, bool) {
	for _, k := range keys {
		if k.name == name {
			return k, true
		}
	}
	return key{}, false
}

// variable names the environment variable that overrides a key.
func (l leaf) variable() string {
	return "WEAVEWG_" + strings.ToUpper(strings.ReplaceAll(l.path, ".", "_"))
}

// option names the command line flag that overrides a key, without its dashes.
func (l leaf) option() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(l.path)
}

// suggest returns the nearest word to name, as ` (did you mean "…"?)`, or nothing if none is near. Keys of other
// places are named with their whole path.
func suggest(name string, here []key) string {
	var words []string
	for _, k := range here {
		words = append(words, k.name)
	}
	if w := nearest(name, words); w != "" {
		return ` (did you mean "` + w + `"?)`
	}
	for _, l := range leaves() {
		if l.path[strings.LastIndexByte(l.path, '.')+1:] == name {
			return ` (did you mean "` + l.path + `"?)`
		}
	}
	return ""
}

// nearest returns the word that is fewest slips away from name, at most two (one in very short names, three in long
// ones), or "".
func nearest(name string, words []string) string {
	limit := min(2, max(1, len(name)/2))
	if len(name) > 8 {
		limit = 3
	}
	best, found := limit+1, ""
	for _, w := range words {
		if d := distance(strings.ToLower(name), w); d < best {
			best, found = d, w
		}
	}
	return found
}

// distance is the Levenshtein distance in bytes, with names longer than 64 counted as infinitely far.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 1 << 16
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
